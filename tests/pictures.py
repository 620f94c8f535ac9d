"""Pictures made for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(height=40, width=40, seed=0) -> np.ndarray:
    """uint8 H×W×3: smooth blobs, no symmetry, so that a turned or mirrored copy is far away."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def picture_files(folder: Path, count=5, suffix="png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{i}.{suffix}" for i in range(count)]
    for i, file in enumerate(files):
        Image.fromarray(picture(30 + 7 * i, 50 - 6 * i, seed=i)).save(file)
    return files


def stores(root: Path) -> list[Path]:
    return sorted(p for p in (root / "cache" / "stores").glob("*") if p.name != "digests")
