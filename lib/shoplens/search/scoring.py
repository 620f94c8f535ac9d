"""Scores of a search, query by query and as rows of tables: as it is, among distractors, inside a class, expanded
(P2 §5)."""

from itertools import chain

import numpy as np

from shoplens.search.descriptors import expand
from shoplens.search.nearest import Chunks, in_chunks, merge, rank, search_exact, search_inside
from shoplens.search.protocols import SearchProtocol
from shoplens.statistics.average_precision import accuracy_at, average_precision
from shoplens.statistics.over_products import mean_over_products


def score(features, protocol: SearchProtocol, split: str, k: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AP@k and ACC@k of every query of a split, and the row numbers found, Q×k. features: whatever gives float32 M×D
    for M row numbers."""
    hits, ids, _ = rank(features, protocol.splits[split], protocol.items, k)
    return average_precision(hits, protocol.relevant(split), k), accuracy_at(hits, k), ids


def score_among(features, protocol: SearchProtocol, split: str, distractors: Chunks, k: int = 20,
                whiten=None) -> tuple[np.ndarray, np.ndarray]:
    """AP@k and ACC@k with distractors in the gallery, which pass by once and are not kept. whiten: applied to every
    feature on its way, such as `Whitening.apply`."""
    own, items = protocol.splits[split], protocol.items
    whiten = whiten or (lambda unchanged: unchanged)
    gallery = ((own.gallery[s:s + 4096], features[own.gallery[s:s + 4096]]) for s in range(0, len(own.gallery), 4096))
    chunks = ((ids, whiten(part)) for ids, part in chain(gallery, distractors))
    ids = _without_itself(*search_exact(whiten(features[own.queries]), chunks, k + 1), own.queries, k)
    of_catalogue = (ids >= 0) & (ids < len(items))
    hits = of_catalogue & (items[np.where(of_catalogue, ids, 0)] == items[own.queries][:, None])
    return average_precision(hits, protocol.relevant(split), k), accuracy_at(hits, k)


def _without_itself(distances: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of k + 1, without the query where it stands in the gallery (as in `nearest.rank`)."""
    return merge(distances, np.where(ids == queries[:, None], -1, ids), k)[1]


def score_inside(features, protocol: SearchProtocol, split: str, of_queries: np.ndarray, of_gallery: np.ndarray,
                 k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """AP@k and ACC@k where each query searches its own class only (P2 §5.7, "CI"). of_…: class of each image. What
    lies outside the class stays relevant: a wrong class costs."""
    own, items = protocol.splits[split], protocol.items
    distances, places = search_inside(features[own.queries], of_queries, features[own.gallery], of_gallery, k + 1)
    ids = _without_itself(distances, np.where(places < 0, -1, own.gallery[places]), own.queries, k)
    hits = (ids >= 0) & (items[ids] == items[own.queries][:, None])
    return average_precision(hits, protocol.relevant(split), k), accuracy_at(hits, k)


def precision_of_places(places: np.ndarray, protocol: SearchProtocol, split: str, k: int = 20) -> np.ndarray:
    """AP@k of every query from places in the split's gallery, Q×k, −1 where it has fewer images."""
    own, items = protocol.splits[split], protocol.items
    found = items[own.gallery][np.maximum(places, 0)]
    hits = (places >= 0) & (found == items[own.queries][:, None])
    return average_precision(hits, protocol.relevant(split), k)


def score_expanded(features, protocol: SearchProtocol, split: str, count: int, k: int = 20) -> np.ndarray:
    """AP@k of every query of a split after its expansion by its first `count` results (see `expand`); 0: as it is."""
    own = protocol.splits[split]
    count = min(count, len(own.gallery) - 1)
    _, ids, _ = rank(features, own, protocol.items, max(count, 1))
    queries = features[own.queries]
    for start in range(0, len(queries) if count else 0, 32):    # few at a time: `count` long features for each
        part = slice(start, start + 32)
        queries[part] = expand(queries[part], np.stack([features[found] for found in ids[part, :count]]))
    _, places = search_exact(queries, in_chunks(features[own.gallery]), k)
    return precision_of_places(places, protocol, split, k)


def score_rows(precision: np.ndarray, accuracy: np.ndarray, products: np.ndarray, k: int, n_resamples: int,
               **columns) -> list[dict]:
    """Two tidy rows, MAP@k and ACC@k, with intervals over products. products: product of each query. columns: what else
    the rows say. n: queries; products: how many different ones they show."""
    rows = []
    for metric, values in ((f"MAP@{k}", precision), (f"ACC@{k}", accuracy)):
        mean = mean_over_products(values, products, n_resamples=n_resamples)
        rows.append(columns | {"metric": metric, "k": k, "value": mean.value, "n": len(values),
                               "products": mean.units, "low": mean.low, "high": mean.high})
    return rows


def gain_row(values: np.ndarray, others: np.ndarray, products: np.ndarray, n_resamples: int, **columns) -> dict:
    """One tidy row of a paired difference over queries, its interval over products crossed with seeds; values, others:
    Q or S×Q, products: product of each query; see `over_products.mean_over_products`. columns: what else the row says.
    visible: the smallest difference seen at 80 % power. `judged` adds the verdict, once the table is whole."""
    gain = mean_over_products(values, products, others, n_resamples=n_resamples)
    return columns | {"n": np.shape(values)[-1], "products": gain.units, "seeds": gain.seeds, "value": gain.value,
                      "low": gain.low, "high": gain.high, "p_value": gain.p_value, "visible": gain.visible}
