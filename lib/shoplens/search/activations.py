"""Activations of a frozen trunk, computed once and kept on disk, and features made from them (P2 §3.2)."""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from shoplens import paths, sealed
from shoplens.data.images import Batches, allocate


class TooMuch(MemoryError):
    """What was asked for will not fit; the message says how much it needs and what to change."""


def gibibytes(*shape: int, width: int = 4) -> float:
    """Size of an array of that shape, `width` bytes per number."""
    return math.prod(shape) * width / 2**30


def check_fits(needs: dict[str, float], available: float, advice: str) -> None:
    """Raise TooMuch, with the whole bill and `advice`, where the needs (name → GiB) add up to more than `available`."""
    total = sum(needs.values())
    if total > available:
        bill = ", ".join(f"{name} {size:.1f} GiB" for name, size in needs.items())
        raise TooMuch(f"this needs {total:.1f} GiB ({bill}) and {available:.1f} GiB may be used: {advice}")


def store_activations(frozen: nn.Module, data: Batches, label: str) -> np.ndarray:
    """Activations of the frozen part for every row of `data`, computed once: float32 memory map N×C×h×w.

    label: what else decides them (network, weights), part of the file's key with the images and the rows. N is the
    number of rows of the store; rows not in `data` are zero. A second call opens the file.
    """
    content = [label, data.store.digest, data.store.folder.name, list(map(int, data.indices)), data.mean, data.std]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]      # the folder's name: size, interpolation
    folder = paths.cache_dir() / "activations" / key
    # A DataLoader draws from torch's generator: what is drawn next must not tell whether the file was there.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        sealed.made(folder, lambda temporary: _compute(frozen.eval(), data, temporary / "maps.npy"))
    return np.load(folder / "maps.npy", mmap_mode="r")


def _compute(frozen: nn.Module, data: Batches, file: Path) -> None:
    device, array = next(frozen.parameters()).device, None
    for batch in data.epoch(None, device):
        maps = frozen(batch["images"]).float().cpu().numpy()
        if array is None:
            array = allocate(file, (len(data.store), *maps.shape[1:]), np.float32)
        array[batch["indices"].cpu().numpy()] = maps
    array.flush()


@torch.no_grad()
def extract(model: nn.Module, maps: np.ndarray, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Features of the rows, float32 M×D, by a model in eval mode from stored activations."""
    device, features = next(model.parameters()).device, []
    for start in range(0, len(rows), batch_size):
        activations = torch.from_numpy(maps[rows[start:start + batch_size]]).to(device)
        features.append(model(activations).float().cpu().numpy())
    return np.concatenate(features)


@dataclass(frozen=True)
class RowFeatures:
    """Features of some rows, addressed by row number of the store; KeyError for a row that was not extracted.

    features: float32 M×…, one entry per extracted row. place: int64, row number → place in them, −1 where there is
    none.
    """

    features: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, features: np.ndarray) -> "RowFeatures":
        """Features M×… of M distinct rows."""
        place = np.full(rows.max() + 1, -1)
        place[rows] = np.arange(len(rows))
        return cls(features, place)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        places = self.place[rows]
        if np.min(places, initial=0) < 0:
            raise KeyError(f"no features of rows {np.asarray(rows)[places < 0][:5]}")
        return self.features[places]


def features_of(model: nn.Module, maps, rows: np.ndarray) -> RowFeatures:
    """Features of distinct rows by a model in eval mode. maps: whatever gives activations for row numbers."""
    return RowFeatures.of(rows, extract(model, maps, rows))
