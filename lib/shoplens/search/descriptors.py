"""Features of rows, side by side or from two sources, and queries expanded by their results (P2 §5)."""

from dataclasses import dataclass

import numpy as np
from torch import nn

from shoplens.search.activations import RowFeatures, extract
from shoplens.search.protocols import SearchSplit


@dataclass(frozen=True)
class ConcatenatedFeatures:
    """Features side by side, [L+G]: rows → the parts' features of those rows, one after the other, over √parts so
    that the whole has unit length again (which changes no ranking)."""

    parts: tuple

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        told = np.concatenate([part[rows] for part in self.parts], axis=1)
        told /= np.sqrt(len(self.parts), dtype=np.float32)      # in place: gigabytes, where the features are long
        return told


def features_of(model: nn.Module, maps, split: SearchSplit) -> RowFeatures:
    """Features of a split's queries and gallery, addressed by row number. maps: whatever gives activations for row
    numbers."""
    rows = np.union1d(split.queries, split.gallery)
    place = np.full(rows.max() + 1, -1)
    place[rows] = np.arange(len(rows))
    return RowFeatures(extract(model, maps, rows), place)


def expand(queries: np.ndarray, found: np.ndarray, alpha: float = 3.0) -> np.ndarray:
    """α query expansion: each query becomes the sum of itself and its first results, weighted by similarityᵅ, at unit
    length (Radenović et al., 2019; not in P2). queries: Q×D. found: Q×n×D features of its first n results."""
    similarity = np.maximum(np.einsum("qd,qnd->qn", queries, found), 0) ** alpha
    grown = queries + np.einsum("qn,qnd->qd", similarity, found)
    return grown / np.linalg.norm(grown, axis=1, keepdims=True)


@dataclass(frozen=True)
class QueryGalleryFeatures:
    """Features of queries from one source and of the gallery from another (CQ-WD): rows in `queries` are read from
    `of_queries`, all others from `of_gallery`."""

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
