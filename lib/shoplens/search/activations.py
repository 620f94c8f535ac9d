"""Activations of a frozen trunk, computed once and kept on disk or in memory, and features made from them (P2 §3.2)."""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from torch import Tensor, nn

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


def free_gib(device: torch.device) -> float:
    """Memory that is free on a device, in GiB: a GPU's own, else the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    return psutil.virtual_memory().available / 2**30


@dataclass(frozen=True)
class Activations:
    """Activations of the frozen part, addressed by row number of the store: `[rows]` → float32 tensor n×C×h×w.

    values: float16 M×h×w×C (channels last, as convolutions on a CPU and on tensor cores like them best), an open file
    or a tensor in the memory of a device. place: int64, row number → place in them.
    """

    values: np.ndarray | Tensor
    place: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, h, w."""
        height, width, channels = self.values.shape[1:]
        return channels, height, width

    def __getitem__(self, rows: np.ndarray) -> Tensor:
        places = self.place[rows]
        if isinstance(self.values, Tensor):
            places = torch.from_numpy(places).to(self.values.device)
        return torch.as_tensor(self.values[places]).float().permute(0, 3, 1, 2)

    def gib(self, rows: np.ndarray) -> float:
        """What the activations of so many rows take in memory."""
        return gibibytes(len(rows), *self.shape, width=2)

    def resident(self, rows: np.ndarray, device: torch.device, available: float) -> "Activations":
        """The same in the memory of a device, of distinct rows alone, where they take at most `available` GiB; else
        itself, read from the file as needed."""
        if self.gib(rows) > available:
            return self
        values = torch.empty(len(rows), *self.values.shape[1:], dtype=torch.float16, device=device)
        for start in range(0, len(rows), 1024):
            part = self.place[rows[start:start + 1024]]
            values[start:start + len(part)] = torch.as_tensor(self.values[part]).to(device)
        return Activations(values, _places(rows))


def store_activations(frozen: nn.Module, data: Batches, label: str) -> Activations:
    """Activations of the frozen part for every row of `data`, computed once and kept in a file in half precision.

    label: what else decides them (network, weights), part of the file's key with the images and the rows. Rows not in
    `data` are zero. A second call opens the file. Raises OverflowError where a value is beyond what float16 holds.
    """
    content = [label, data.store.digest, data.store.folder.name, list(map(int, data.indices)), data.mean, data.std,
               "float16, channels last"]
    key = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]      # the folder's name: size, interpolation
    folder = paths.cache_dir() / "activations" / key
    # A DataLoader draws from torch's generator: what is drawn next must not tell whether the file was there.
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        sealed.made(folder, lambda temporary: _compute(frozen.eval(), data, temporary / "maps.npy"))
    return Activations(np.load(folder / "maps.npy", mmap_mode="r"), np.arange(len(data.store)))


def _compute(frozen: nn.Module, data: Batches, file: Path) -> None:
    device, array = next(frozen.parameters()).device, None
    for batch in data.epoch(None, device):
        maps = frozen(batch["images"]).permute(0, 2, 3, 1).half()
        if not torch.isfinite(maps).all():
            raise OverflowError("the trunk's activations are larger than half precision holds (65,504): choose another "
                                "BACKBONE, or weights whose activations are smaller")
        if array is None:
            array = allocate(file, (len(data.store), *maps.shape[1:]), np.float16)
        array[batch["indices"].cpu().numpy()] = maps.cpu().numpy()
    array.flush()


@torch.no_grad()
def described(model: nn.Module, maps, rows: np.ndarray, batch_size: int = 64) -> Iterator[tuple[slice, Tensor]]:
    """Features of the rows by a model in eval mode, batch by batch: where in `rows` each batch lies, and float32 B×D on
    the model's device. maps: whatever gives activations for row numbers, as a tensor or an array n×C×h×w."""
    device = next(model.parameters()).device
    for start in range(0, len(rows), batch_size):
        where = slice(start, min(start + batch_size, len(rows)))
        yield where, model(torch.as_tensor(maps[rows[where]]).to(device)).float()


def extract(model: nn.Module, maps, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Features of the rows, float32 M×D (or M×…, where the model gives that), by a model in eval mode; see
    `described`."""
    features = np.empty((0, 0), np.float32)
    for where, batch in described(model, maps, rows, batch_size):
        if not where.start:
            features = np.empty((len(rows), *batch.shape[1:]), np.float32)
        features[where] = batch.cpu().numpy()
    return features


@torch.no_grad()
def squared_distances(model: nn.Module, maps, queries: np.ndarray, gallery: np.ndarray,
                      kept: slice = slice(0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Squared L2 distances of features of unit length, float32 Q×G, and the features of `gallery[kept]`. A batch of the
    gallery is described, compared and forgotten: what is held are the queries' features, never the gallery's."""
    asked = torch.from_numpy(extract(model, maps, queries)).to(next(model.parameters()).device)
    far, wanted, some = np.empty((len(queries), len(gallery)), np.float32), np.arange(len(gallery))[kept], []
    for where, batch in described(model, maps, gallery):
        far[:, where] = (2 - 2 * asked @ batch.T).cpu().numpy()
        mine = wanted[(wanted >= where.start) & (wanted < where.stop)] - where.start
        some.append(batch[torch.from_numpy(mine).to(batch.device)].cpu().numpy())
    return far, np.concatenate(some)


@dataclass(frozen=True)
class FeaturesOnDemand:
    """Features of any rows, described whenever they are asked for and not kept: where each is needed once, this takes
    none of the memory that all of them would. `[rows]` → float32 n×D."""

    model: nn.Module
    maps: object

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return extract(self.model, self.maps, rows)


def _places(rows: np.ndarray) -> np.ndarray:
    """Row number → place among these distinct rows, −1 where there is none."""
    place = np.full(rows.max() + 1, -1)
    place[rows] = np.arange(len(rows))
    return place


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
        return cls(features, _places(rows))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        places = self.place[rows]
        if np.min(places, initial=0) < 0:
            raise KeyError(f"no features of rows {np.asarray(rows)[places < 0][:5]}")
        return self.features[places]


def features_of(model: nn.Module, maps, rows: np.ndarray) -> RowFeatures:
    """Features of distinct rows by a model in eval mode. maps: whatever gives activations for row numbers."""
    return RowFeatures.of(rows, extract(model, maps, rows))
