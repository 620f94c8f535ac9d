"""What a search network trains on: queries with mined candidates, from stored activations of the frozen trunk
(P2 §3.2–3.3). Fits `training.fit` in the place of `images.Batches`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from shoplens.data.images import ImageStore
from shoplens.search.activations import gibibytes, squared_distances
from shoplens.search.mining import Candidates, Memory, Mining, refreshes, triplets_of
from shoplens.search.nearest import DESCRIBED

DRIFT_IMAGES = 256      # gallery images whose movement between two refreshes is measured


def memory_bill(dimensions: int, *, mined: int, trained: int, scored: int, searched: int) -> dict[str, float]:
    """What mining and scoring hold at a time, in GiB by name. dimensions: of a feature. mined: queries between two
    refreshes. trained: images of the training gallery. scored, searched: queries and gallery of the largest split."""
    return {"features of queries": gibibytes(max(mined, scored), dimensions),
            "features of parts of a gallery": 2 * gibibytes(min(DESCRIBED, searched), dimensions),
            "distances of mined queries": gibibytes(mined, trained),
            "features watched for drift": 2 * gibibytes(min(DRIFT_IMAGES, trained), dimensions)}


@dataclass
class QueryBatches:
    """Epochs of mined queries.

    model: the network that is trained, whose features are mined. maps: whatever gives activations for row numbers, see
    `activations.described`. indices:
    the training queries. interval: queries between two extractions of all features in the first epochs; it doubles
    every `halve_every` (P2 §4.1). queries_per_epoch: drawn anew for each epoch, watched ones always among them; 0: all.
    watch: rows of queries whose candidates are kept in `mined_log`, one entry per epoch: epoch, queries before it,
    candidates. `drift` holds for each refresh but the first how far features had moved since the one before: epoch,
    queries before it, mean squared distance over some gallery images. Both, and the hard negatives remembered between
    epochs, go into the checkpoint, so that a resumed training mines what an undisturbed one would; its first refresh
    has no drift.
    """

    model: nn.Module
    maps: object
    indices: np.ndarray
    mining: Mining
    batch_size: int
    store: ImageStore
    interval: int = 1000
    halve_every: int = 5
    seed: int = 0
    queries_per_epoch: int = 0
    watch: tuple[int, ...] = ()
    mined_log: list[tuple[int, int, Candidates]] = field(default_factory=list)
    drift: list[tuple[int, int, float]] = field(default_factory=list)
    _before: np.ndarray | None = None
    _memory: dict[int, Memory] = field(default_factory=dict)

    def state_dict(self) -> dict:
        """What a checkpoint must hold: the memory with which each epoch starts, and what was logged."""
        memory = {epoch: {query: torch.from_numpy(rows) for query, rows in one.hard.items()}
                  for epoch, one in self._memory.items()}
        mined = [(epoch, start, _to_json(candidates)) for epoch, start, candidates in self.mined_log]
        return {"memory": memory, "log": json.dumps({"seen": mined, "drift": self.drift})}

    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` gave."""
        log = json.loads(state["log"])
        self._memory = {epoch: Memory({query: rows.numpy() for query, rows in one.items()})
                        for epoch, one in state["memory"].items()}
        self.mined_log[:] = [(epoch, start, _from_json(candidates)) for epoch, start, candidates in log["seen"]]
        self.drift[:] = [tuple(entry) for entry in log["drift"]]

    def epoch(self, epoch: int, device: torch.device | str = "cpu", rank: int = 0,
              world: int = 1) -> Iterator[dict]:
        """Batches of queries in an order drawn from (seed, epoch): "activations" U×C×h×w of the distinct images they
        need, "labels" (the product of each), "triplets" T×3 with positions among them and "ambiguous" T (see
        `mining.triplets_of`), "indices" (the queries) and "loss_scale" (see `images.Batches`)."""
        memory = Memory(dict(self._memory[epoch].hard)) if epoch in self._memory else Memory()
        # An epoch that is begun twice is logged once.
        self.mined_log[:] = [entry for entry in self.mined_log if entry[0] < epoch]
        self.drift[:] = [entry for entry in self.drift if entry[0] < epoch]
        order = np.random.default_rng((self.seed, epoch)).permutation(self.indices)
        if self.queries_per_epoch:
            chosen = order[np.argsort(~np.isin(order, self.watch), kind="stable")][:self.queries_per_epoch]
            order = order[np.isin(order, chosen)]
        starts = refreshes(len(order), epoch + 1, self.interval, self.halve_every)[epoch]
        for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
            found = self._mine(order[start:stop], epoch, start, memory)
            for group in np.array_split(np.arange(len(found)), -(-len(found) // self.batch_size)):
                if len(group) < world:
                    raise ValueError(f"a batch of {len(group)} cannot be shared by {world} processes: raise BATCH_SIZE")
                mine = [found[i] for i in group[rank::world]]
                yield self._batch(mine, device) | {"loss_scale": len(mine) * world / len(group)}
        # That of this epoch too, should it be begun again.
        self._memory = {each: one for each, one in self._memory.items() if each == epoch} | {epoch + 1: memory}

    def _mine(self, queries: np.ndarray, epoch: int, start: int, memory: Memory) -> list[Candidates]:
        was_training = self.model.training
        self.model.eval()
        every = -(-len(self.mining.gallery) // DRIFT_IMAGES)
        far, some = squared_distances(self.model, self.maps, queries, self.mining.gallery, slice(None, None, every))
        self.model.train(was_training)
        if self._before is not None:
            self.drift.append((epoch, start, float(np.mean(np.sum((some - self._before) ** 2, axis=1)))))
        self._before = some
        found = self.mining.mine(queries, far, memory, (self.seed, epoch, start))
        self.mined_log += [(epoch, start, one) for one in found if one.query in self.watch]
        return found

    def _batch(self, mine: list[Candidates], device) -> dict:
        triplets, ambiguous = triplets_of(mine)
        named = [(c.query, c.positive, c.nearest_negative) for c in mine]       # in the batch with or without a triplet
        rows = np.unique(np.concatenate([np.ravel(named), triplets.ravel()]))
        return {"activations": torch.as_tensor(self.maps[rows]).to(device),
                "labels": torch.from_numpy(self.mining.items[rows]).to(device),
                "triplets": torch.from_numpy(np.searchsorted(rows, triplets)).to(device),
                "ambiguous": torch.from_numpy(ambiguous).to(device), "indices": torch.tensor([c.query for c in mine])}


def _to_json(candidates: Candidates) -> dict:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(candidates).items()}


def _from_json(fields: dict) -> Candidates:
    return Candidates(**{name: np.array(value, np.int64) if isinstance(value, list) else value
                         for name, value in fields.items()})
