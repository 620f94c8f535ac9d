"""The nearest images of each query: exactly, over a gallery that streams by; inside a class; by an approximate index
(P2 §5.7–5.8)."""

from collections.abc import Iterable

import faiss
import numpy as np

DESCRIBED = 1024    # gallery images whose features are asked for at a time
Chunks = Iterable[tuple[np.ndarray, np.ndarray]]    # (ids, features): int64 of M, float32 M×D


def in_chunks(features: np.ndarray, ids: np.ndarray | None = None, size: int = 65536) -> Chunks:
    """(ids, features) of an array, `size` rows at a time; ids default to row numbers."""
    ids = np.arange(len(features)) if ids is None else np.asarray(ids)
    for start in range(0, len(features), size):
        yield ids[start:start + size], np.ascontiguousarray(features[start:start + size], np.float32)


def merge(distances: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each row, by (distance, id). distances, ids: Q×L; id −1 marks an empty place and comes last."""
    distances = np.where(ids < 0, np.inf, distances)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    return np.take_along_axis(distances, order, 1), np.take_along_axis(ids, order, 1)


def search_exact(queries: np.ndarray, gallery: Chunks, k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Squared L2 distances and ids of the k nearest of a gallery that need not fit into memory: both Q×k.

    queries: float32 Q×D. One chunk at a time is compared (on a GPU where faiss finds one) and only the best k are
    kept; equal distances rank by id, as far as they lie among a chunk's k nearest. Fewer than k images leave ids −1.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    best = np.full((len(queries), k), np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for ids, features in gallery:
        distances, places = _nearest(queries, features, min(k, len(features)))
        best = merge(np.concatenate([best[0], distances], 1), np.concatenate([best[1], np.asarray(ids)[places]], 1), k)
    return best


def _nearest(queries: np.ndarray, features: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if getattr(faiss, "get_num_gpus", lambda: 0)():
        return faiss.knn_gpu(faiss.StandardGpuResources(), queries, features, k)
    return faiss.knn(queries, features, k)


def rank(features, split, items: np.ndarray, k: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Search a `protocols.SearchSplit` exactly: hits (bools), row numbers and squared distances, all Q×k.

    features: whatever gives float32 M×D for M row numbers, such as an array over all rows. items: product of every
    row. A query that stands in the gallery does not find itself; galleries of fewer than k images leave rows −1,
    which are no hits.
    """
    gallery = ((split.gallery[start:start + DESCRIBED], features[split.gallery[start:start + DESCRIBED]])
               for start in range(0, len(split.gallery), DESCRIBED))
    distances, ids = search_exact(features[split.queries], gallery, k + 1)
    itself = ids == split.queries[:, None]
    distances, ids = merge(np.where(itself, np.inf, distances), np.where(itself, -1, ids), k)
    return (ids >= 0) & (items[ids] == items[split.queries][:, None]), ids, distances


def build_index(sample: np.ndarray, gallery: Chunks, factory: str) -> faiss.Index:
    """An approximate index by faiss's description, trained on a sample and filled chunk by chunk.

    factory: such as "IVF1024,SQ8" (a byte per dimension) or "IVF1024,PQ32" (32 bytes per image), "HNSW32" (no
    training). Memory is the index and one chunk. Raises ValueError for a description that faiss does not know.
    """
    sample = np.ascontiguousarray(sample, np.float32)
    try:
        index = faiss.index_factory(sample.shape[1], factory)
    except RuntimeError as error:
        raise ValueError(f"faiss knows no index {factory!r} for {sample.shape[1]} dimensions") from error
    if not index.is_trained:
        index.train(sample)
    where = index if isinstance(index, faiss.IndexIVF) else faiss.IndexIDMap(index)
    for ids, features in gallery:
        where.add_with_ids(features, np.ascontiguousarray(ids, np.int64))
    return where


def search_index(index: faiss.Index, queries: np.ndarray, k: int = 20,
                 probes: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Approximate distances and ids, both Q×k, by (distance, id). probes: cells an inverted-file index visits."""
    cells = faiss.try_extract_index_ivf(index)      # inside a rotation or a refinement too
    if cells is not None:
        cells.nprobe = probes
    return merge(*index.search(np.ascontiguousarray(queries, np.float32), k), k)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact k nearest that an approximate search also returned, mean over queries. Both Q×k ids."""
    return float(np.mean([len(np.intersect1d(f, e[e >= 0])) / max((e >= 0).sum(), 1)
                          for f, e in zip(found, exact, strict=True)]))


def search_inside(queries: np.ndarray, of_query: np.ndarray, gallery: np.ndarray, of_gallery: np.ndarray,
                  k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Exact search among images of the query's own class only (P2 §5.7, "CI"): distances and row numbers, Q×k.

    of_query, of_gallery: class of each. A class with fewer than k images leaves ids −1.
    """
    distances, ids = np.full((len(queries), k), np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
    for one in np.unique(of_query):
        mine, theirs = np.flatnonzero(of_query == one), np.flatnonzero(of_gallery == one)
        if len(theirs):
            distances[mine], ids[mine] = search_exact(queries[mine], in_chunks(gallery[theirs], theirs), k)
    return distances, ids
