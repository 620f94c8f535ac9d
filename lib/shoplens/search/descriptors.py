"""Features combined: side by side, from two sources, queries expanded by their results; and what a local feature
weighs (P2 §3.2, §5)."""

from dataclasses import dataclass

import numpy as np
import torch

from shoplens.models.netvlad import Descriptor
from shoplens.search.activations import RowFeatures


@dataclass(frozen=True)
class ConcatenatedFeatures:
    """Features side by side, [L+G]: rows → the parts' features of those rows, one after the other, over √parts so
    that the whole has unit length again (which changes no ranking)."""

    parts: tuple

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        whole = np.concatenate([part[rows] for part in self.parts], axis=1)
        whole /= np.sqrt(len(self.parts), dtype=np.float32)     # in place: gigabytes, where the features are long
        return whole


@dataclass(frozen=True)
class QueryGalleryFeatures:
    """Features of queries from one source and of the gallery from another (CQ-WD): rows in `queries` are read from
    `of_queries`, all others from `of_gallery`. Raises ValueError for queries and gallery images together."""

    queries: np.ndarray
    of_queries: RowFeatures
    of_gallery: RowFeatures

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        asked = np.isin(rows, self.queries)
        if asked.all():
            return self.of_queries[rows]
        if asked.any():
            raise ValueError("queries and gallery images were asked for together: no row may be both")
        return self.of_gallery[rows]


def expand(queries: np.ndarray, found: np.ndarray, alpha: float = 3.0) -> np.ndarray:
    """α query expansion: each query becomes the sum of itself and its first results, weighted by similarityᵅ, at unit
    length (Radenović et al., 2019; not in P2). queries: Q×D. found: Q×n×D features of its first n results."""
    similarity = np.maximum(np.einsum("qd,qnd->qn", queries, found), 0) ** alpha
    grown = queries + np.einsum("qn,qnd->qd", similarity, found)
    return grown / np.linalg.norm(grown, axis=1, keepdims=True)


def power_normalised(features: np.ndarray, power: float = 0.5) -> np.ndarray:
    """sign(x)·|x|ᵖ of every number, at unit length again: what comes in bursts weighs less (Jégou et al., 2012; not in
    P2). features: N×D."""
    grown = np.abs(features)
    np.power(grown, power, out=grown)
    np.copysign(grown, features, out=grown)
    grown /= np.maximum(np.linalg.norm(grown, axis=1, keepdims=True), 1e-12)
    return grown


@torch.no_grad()
def local_weights(model: Descriptor, maps, rows: np.ndarray) -> np.ndarray:
    """w_i of Eq. 2 (P2) for some rows, float32 n×h×w, all ≥ 0. model: a `Descriptor` in eval mode. maps: whatever
    gives activations for row numbers."""
    device, weights = next(model.parameters()).device, []
    for part in np.array_split(rows, -(-len(rows) // 64)):
        last = model.block(torch.as_tensor(maps[part]).to(device))
        weights.append(model.head.local_weights(last).float().cpu().numpy())
    return np.concatenate(weights)
