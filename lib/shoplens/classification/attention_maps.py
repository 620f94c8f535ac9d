"""How far a map lies on the product, measured where masks are known (P1 §3.2 shows it in Fig. 2, without a measure)."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def load_masks(files: list[Path], size: int) -> np.ndarray:
    """Foreground masks as bools N×size×size, stretched to a square as the images are. 8-bit files, 255 = product."""
    def one(file):
        with Image.open(file) as image:
            return np.asarray(image.convert("L").resize((size, size), Image.Resampling.BOX)) > 127
    return np.stack([one(file) for file in files])


def enlarge(maps: np.ndarray, size: int) -> np.ndarray:
    """Maps N×h×w → N×size×size, bilinear, as attention is laid over a picture."""
    maps = torch.as_tensor(maps, dtype=torch.float32)[:, None]
    return F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)[:, 0].numpy()


def pointing_game(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """bool array of N: does the largest value of each map lie on the product? Where several share it, most must.

    maps: floats N×S×S. masks: bools N×S×S.
    """
    highest = maps == maps.max(axis=(1, 2), keepdims=True)
    return (highest & masks).sum(axis=(1, 2)) * 2 > highest.sum(axis=(1, 2))


def share_inside(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Float array of N: the share of each map's total that lies on the product, in [0, 1]; 0 for a map of zeros.

    maps: floats ≥ 0, N×S×S. masks: bools N×S×S. A map that is the same everywhere scores the product's area.
    """
    total = maps.sum(axis=(1, 2))
    inside = np.where(masks, maps, 0).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.zeros(len(maps)), where=total > 0)


def activation_energy(maps: Tensor) -> Tensor:
    """Where a network without attention is active: sum over channels of squared activations, B×C×h×w → B×h×w."""
    return maps.square().sum(dim=1)
