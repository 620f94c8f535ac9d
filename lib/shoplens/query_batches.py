"""What a search network trains on: queries with mined candidates, from stored activations of the frozen trunk
(P2 §3.2–3.3). Fits `training.fit` in the place of `images.Batches`."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from shoplens import paths
from shoplens.candidates import Candidates, Memory, Mining, ambiguous_positive_terms, hard_negative_terms, refreshes
from shoplens.images import Batches, ImageStore

DRIFT_IMAGES = 256      # gallery images whose movement between two refreshes is measured


class TooMuch(MemoryError):
    """What was asked for will not fit; the message says how much it needs and what to change."""


def gibibytes(*shape: int, width: int = 4) -> float:
    """Size of an array of that shape, `width` bytes a number."""
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
    known = [label, data.store.digest, data.store.folder.name, list(map(int, data.rows)), data.mean, data.std]
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]      # the folder's name: size, interpolation
    folder = paths.cache_dir() / "activations" / key
    if not (folder / "maps.npy").exists():
        device = next(frozen.parameters()).device
        # A DataLoader draws from torch's generator: what is drawn next must not tell whether the file was there.
        with paths.publish_folder(folder) as temporary, torch.no_grad(), torch.random.fork_rng(devices=[]):
            frozen.eval()
            array = None
            for batch in data.epoch(None, device):
                maps = frozen(batch["images"]).float().cpu().numpy()
                if array is None:
                    array = np.lib.format.open_memmap(temporary / "maps.npy", mode="w+", dtype=np.float32,
                                                      shape=(len(data.store), *maps.shape[1:]))
                array[batch["rows"].cpu().numpy()] = maps
            array.flush()
    return np.load(folder / "maps.npy", mmap_mode="r")


@torch.no_grad()
def extract(model: nn.Module, maps: np.ndarray, rows: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """Features of the rows, float32 M×D, by a model in eval mode from stored activations."""
    device, told = next(model.parameters()).device, []
    for start in range(0, len(rows), batch_size):
        told.append(model(torch.from_numpy(maps[rows[start:start + batch_size]]).to(device)).float().cpu().numpy())
    return np.concatenate(told)


@dataclass
class QueryBatches:
    """Epochs of mined queries.

    model: the network that is trained, whose features are mined. maps: activations of all rows of the store. rows: the
    training queries. interval: queries between two extractions of all features in the first epochs; it doubles every
    `halve_every` (P2 §4.1). most: queries an epoch, drawn anew for each, watched ones always among them; 0: all.
    memory_file: where remembered hard negatives are kept between epochs, so that a resumed training mines what an
    undisturbed one would. watch: rows of queries whose candidates are kept in `seen`, an entry an epoch: epoch,
    queries before it, candidates. `drift` holds for each refresh but the first how far features had moved since the
    one before: epoch, queries before it, mean squared distance over some gallery images. Both are kept beside the
    memory for a training that is resumed, whose first refresh has no drift.
    """

    model: nn.Module
    maps: np.ndarray
    rows: np.ndarray
    mining: Mining
    batch_size: int
    store: ImageStore
    memory_file: Path
    interval: int = 1000
    halve_every: int = 5
    seed: int = 0
    most: int = 0
    watch: tuple[int, ...] = ()
    seen: list[tuple[int, int, Candidates]] = field(default_factory=list)
    drift: list[tuple[int, int, float]] = field(default_factory=list)
    _before: np.ndarray | None = None

    def __post_init__(self):
        if self._journal.exists():
            told = json.loads(self._journal.read_text(encoding="utf-8"))
            self.seen += [(epoch, start, Candidates(**{name: np.array(value, np.int64) if isinstance(value, list)
                                                       else value for name, value in one.items()}))
                          for epoch, start, one in told["seen"]]
            self.drift += [tuple(line) for line in told["drift"]]

    @property
    def _journal(self) -> Path:
        return self.memory_file.with_suffix(".json")

    def epoch(self, epoch: int, device: torch.device | str = "cpu", rank: int = 0,
              world: int = 1) -> Iterator[dict]:
        """Batches of queries in an order drawn from (seed, epoch): "activations" U×C×h×w of the distinct images they
        need, "candidates" with positions in them, "rows" (the queries) and "share" (see `images.Batches`)."""
        memory = self._remembered(epoch)
        self.seen[:] = [entry for entry in self.seen if entry[0] < epoch]      # an epoch begun twice is told once
        self.drift[:] = [entry for entry in self.drift if entry[0] < epoch]
        order = np.random.default_rng((self.seed, epoch)).permutation(self.rows)
        if self.most:       # watched queries are always among them
            chosen = order[np.argsort(~np.isin(order, self.watch), kind="stable")][:self.most]
            order = order[np.isin(order, chosen)]
        starts = refreshes(len(order), epoch + 1, self.interval, self.halve_every)[epoch]
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            found = self._mine(order[start:stop], epoch, start, memory)
            for group in np.array_split(np.arange(len(found)), -(-len(found) // self.batch_size)):
                if len(group) < world:
                    raise ValueError(f"a batch of {len(group)} cannot be shared by {world} processes: raise BATCH_SIZE")
                mine = [found[i] for i in group[rank::world]]
                yield self._batch(mine, device) | {"share": len(mine) * world / len(group)}
        if rank == 0:
            self._remember(epoch, memory)

    def _mine(self, queries: np.ndarray, epoch: int, start: int, memory: Memory) -> list[Candidates]:
        was_training = self.model.training
        self.model.eval()
        needed = np.union1d(queries, self.mining.gallery)
        place = np.full(len(self.maps), -1)
        place[needed] = np.arange(len(needed))
        features = RowFeatures(extract(self.model, self.maps, needed), place)
        self.model.train(was_training)
        some = features[self.mining.gallery[:: -(-len(self.mining.gallery) // DRIFT_IMAGES)]]
        if self._before is not None:
            self.drift.append((epoch, start, float(np.mean(np.sum((some - self._before) ** 2, axis=1)))))
        self._before = some.copy()
        found = self.mining.mine(queries, features, memory, (self.seed, epoch, start))
        self.seen += [(epoch, start, one) for one in found if one.query in self.watch]
        return found

    def _batch(self, mine: list[Candidates], device) -> dict:
        roles = [{"query": c.query, "positive": c.positive, "nearest_negative": c.nearest_negative,
                  "hard_negatives": c.hard_negatives, "ambiguous_positives": c.ambiguous_positives} for c in mine]
        distinct = np.unique(np.concatenate([np.atleast_1d(rows) for one in roles for rows in one.values()]))
        places = [{role: np.searchsorted(distinct, rows) for role, rows in one.items()} for one in roles]
        return {"activations": torch.from_numpy(np.ascontiguousarray(self.maps[distinct])).to(device),
                "candidates": places, "rows": torch.tensor([c.query for c in mine])}

    def _remembered(self, epoch: int) -> Memory:
        file = self.memory_file.with_name(f"{self.memory_file.stem}_{epoch}.npz")
        if epoch == 0 or not file.exists():
            return Memory()
        with np.load(file) as arrays:
            return Memory({int(name): arrays[name] for name in arrays.files})

    def _remember(self, epoch: int, memory: Memory) -> None:
        """Keep the memory for the next epoch, and that of this one: its checkpoint may not be written yet."""
        file = self.memory_file.with_name(f"{self.memory_file.stem}_{epoch + 1}.npz")
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file.with_suffix(".part.npz"), **{str(query): rows for query, rows in memory.hard.items()})
        os.replace(file.with_suffix(".part.npz"), file)
        plain = [(e, start, {name: value.tolist() if isinstance(value, np.ndarray) else value
                             for name, value in vars(one).items()}) for e, start, one in self.seen]
        paths.write_atomic(self._journal, json.dumps({"seen": plain, "drift": self.drift}).encode())
        self.memory_file.with_name(f"{self.memory_file.stem}_{epoch - 1}.npz").unlink(missing_ok=True)


@dataclass(frozen=True)
class RowFeatures:
    """Features of some rows, addressed by row number of the store; KeyError for a row that was not extracted."""

    features: np.ndarray
    place: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        places = self.place[rows]
        if np.min(places, initial=0) < 0:
            raise KeyError(f"no features of rows {np.asarray(rows)[places < 0][:5]}")
        return self.features[places]


def ranking_loss(features: Tensor, candidates: list[dict], margin: float = 0.1,
                 plain: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3 + Eq. 4 of a batch of queries, and logs: triplets a query, the share of them that violate the margin under
    the weights as they are now, and the two parts of the loss.

    The sum is divided by the number of violating triplets, as in the code the paper builds on: candidates were mined
    with older features, and those that are in order by now would only dilute the step. features: U×D of the batch's
    images. candidates: positions in them, as `QueryBatches` gives them. Where nothing violates the loss is 0.
    """
    negatives, positives = [features.new_zeros(0)], [features.new_zeros(0)]
    for c in candidates:
        query = features[c["query"]]
        negatives.append(hard_negative_terms(query, features[c["positive"]], features[c["hard_negatives"]], margin,
                                             plain))
        positives.append(ambiguous_positive_terms(query, features[c["ambiguous_positives"]],
                                                  features[c["nearest_negative"]], margin, plain))
    negatives, positives = torch.cat(negatives), torch.cat(positives)
    triplets = len(negatives) + len(positives)
    violating = (negatives > 0).sum() + (positives > 0).sum()
    divisor = violating.clamp_min(1)
    loss = (negatives.sum() + positives.sum() + features.sum() * 0.0) / divisor     # the last: a graph in any case
    return loss, {"triplets": torch.tensor(triplets / len(candidates)), "violating": violating / max(triplets, 1),
                  "negative_loss": negatives.sum() / divisor, "positive_loss": positives.sum() / divisor}
