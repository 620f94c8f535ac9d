"""What a search network trains on: queries with mined candidates, from stored activations of the frozen trunk
(P2 §3.2–3.3). Fits `training.fit` in the place of `images.Batches`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from shoplens.data.images import ImageStore
from shoplens.search.activations import features_of
from shoplens.search.mining import Candidates, Memory, Mining, refreshes

DRIFT_IMAGES = 256      # gallery images whose movement between two refreshes is measured


@dataclass
class QueryBatches:
    """Epochs of mined queries.

    model: the network that is trained, whose features are mined. maps: activations of all rows of the store. indices:
    the training queries. interval: queries between two extractions of all features in the first epochs; it doubles
    every `halve_every` (P2 §4.1). queries_per_epoch: drawn anew for each epoch, watched ones always among them; 0: all.
    watch: rows of queries whose candidates are kept in `mined_log`, one entry per epoch: epoch, queries before it,
    candidates. `drift` holds for each refresh but the first how far features had moved since the one before: epoch,
    queries before it, mean squared distance over some gallery images. Both, and the hard negatives remembered between
    epochs, go into the checkpoint, so that a resumed training mines what an undisturbed one would; its first refresh
    has no drift.
    """

    model: nn.Module
    maps: np.ndarray
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
        need, "candidates" with positions in them, "indices" (the queries) and "loss_scale" (see `images.Batches`)."""
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
        features = features_of(self.model, self.maps, np.union1d(queries, self.mining.gallery))
        self.model.train(was_training)
        some = features[self.mining.gallery[:: -(-len(self.mining.gallery) // DRIFT_IMAGES)]]
        if self._before is not None:
            self.drift.append((epoch, start, float(np.mean(np.sum((some - self._before) ** 2, axis=1)))))
        self._before = some.copy()
        found = self.mining.mine(queries, features, memory, (self.seed, epoch, start))
        self.mined_log += [(epoch, start, one) for one in found if one.query in self.watch]
        return found

    def _batch(self, mine: list[Candidates], device) -> dict:
        roles = [{"query": c.query, "positive": c.positive, "nearest_negative": c.nearest_negative,
                  "hard_negatives": c.hard_negatives, "ambiguous_positives": c.ambiguous_positives} for c in mine]
        distinct = np.unique(np.concatenate([np.atleast_1d(rows) for one in roles for rows in one.values()]))
        places = [{role: np.searchsorted(distinct, rows) for role, rows in one.items()} for one in roles]
        return {"activations": torch.from_numpy(np.ascontiguousarray(self.maps[distinct])).to(device),
                "candidates": places, "indices": torch.tensor([c.query for c in mine])}


def _to_json(candidates: Candidates) -> dict:
    return {name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(candidates).items()}


def _from_json(fields: dict) -> Candidates:
    return Candidates(**{name: np.array(value, np.int64) if isinstance(value, list) else value
                         for name, value in fields.items()})
