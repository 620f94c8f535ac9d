"""Batches of several products with several images of each, which losses over pairs inside a batch need (not in P2).
Fits `training.fit` in the place of `images.Batches`."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from shoplens.data.images import ImageStore


@dataclass(frozen=True)
class ProductBatches:
    """Epochs of training images, each seen once, from stored activations.

    maps: whatever gives activations for row numbers, see `activations.described`. indices: the training images. labels:
    int64 of all rows of the store, the product each shows. products, each: a batch has about so many groups of at most
    `each` images of one product. Which images, in which batch, follows from (seed, epoch).
    """

    maps: object
    indices: np.ndarray
    labels: np.ndarray
    store: ImageStore
    products: int = 16
    each: int = 4
    seed: int = 0

    def __post_init__(self):
        if self.products < 2 or self.each < 2:
            raise ValueError(f"pairs in a batch need two products and two images of each, got PRODUCTS {self.products} "
                             f"and EACH {self.each}")

    @property
    def batch_size(self) -> int:
        """Images of a whole batch."""
        return self.products * self.each

    def state_dict(self) -> dict:
        """What a checkpoint must hold of the batches: nothing, an epoch follows from its number."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """The counterpart of `state_dict`."""

    def plan(self, epoch: int) -> list[list[np.ndarray]]:
        """Batches of groups of row numbers: each product's images shuffled and cut into groups of nearly equal size,
        groups shuffled and dealt into batches of nearly equal number."""
        rng, groups = np.random.default_rng((self.seed, epoch)), []
        for product in np.unique(self.labels[self.indices]):
            own = rng.permutation(self.indices[self.labels[self.indices] == product])
            groups += np.array_split(own, -(-len(own) // self.each))
        order = rng.permutation(len(groups))
        return [[groups[i] for i in part] for part in np.array_split(order, -(-len(order) // self.products))]

    def epoch(self, epoch: int, device: torch.device | str = "cpu", rank: int = 0, world: int = 1) -> Iterator[dict]:
        """Batches for process `rank` of `world`, which share the groups: "activations" B×…, "labels" int64 B, "indices"
        and "loss_scale" (see `images.Batches`)."""
        for groups in self.plan(epoch):
            if len(groups) < world:
                raise ValueError(f"a batch of {len(groups)} groups cannot be shared by {world} processes: raise "
                                 "PRODUCTS")
            mine = np.concatenate(groups[rank::world])
            yield {"activations": torch.as_tensor(self.maps[mine]).to(device),
                   "labels": torch.from_numpy(self.labels[mine]).to(device), "indices": torch.from_numpy(mine),
                   "loss_scale": len(mine) * world / sum(map(len, groups))}
