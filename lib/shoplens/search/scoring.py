"""What the learned search does: networks by what they learned from, features side by side, distractors (P2 §5)."""

from itertools import chain

import numpy as np
import pandas as pd

from shoplens.search.nearest import Chunks, merge, rank, search_exact, search_inside
from shoplens.search.protocols import SearchProtocol
from shoplens.search.trained_networks import SELECTIONS
from shoplens.statistics.average_precision import accuracy_at, average_precision
from shoplens.statistics.bootstrap import bootstrap_mean, gain_over_seeds
from shoplens.statistics.verdicts import verdict


def score(features, protocol: SearchProtocol, split: str, k: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AP@k and ACC@k of every query of a split, and the row numbers found, Q×k."""
    hits, ids, _ = rank(features, protocol.splits[split], protocol.items, k)
    return average_precision(hits, protocol.relevant(split), k), accuracy_at(hits, k), ids


def score_among(features, protocol: SearchProtocol, split: str, distractors: Chunks, k: int = 20,
                whiten=None) -> tuple[np.ndarray, np.ndarray]:
    """AP@k and ACC@k with distractors in the gallery, which pass by once and are not kept. whiten: applied to every
    feature on its way, such as `Whitening.apply`."""
    own, items = protocol.splits[split], protocol.items
    whiten = whiten or (lambda told: told)
    gallery = ((own.gallery[s:s + 4096], features[own.gallery[s:s + 4096]]) for s in range(0, len(own.gallery), 4096))
    chunks = ((ids, whiten(told)) for ids, told in chain(gallery, distractors))
    ids = _without_itself(*search_exact(whiten(features[own.queries]), chunks, k + 1), own.queries, k)
    of_catalogue = (ids >= 0) & (ids < len(items))
    hits = of_catalogue & (items[np.where(of_catalogue, ids, 0)] == items[own.queries][:, None])
    return average_precision(hits, protocol.relevant(split), k), accuracy_at(hits, k)


def _without_itself(distances: np.ndarray, ids: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The k nearest of k + 1, without the query where it stands in the gallery (as in `search.rank`)."""
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


def score_rows(precision: np.ndarray, accuracy: np.ndarray, items: np.ndarray, k: int, n_resamples: int,
               **told) -> list[dict]:
    """Two tidy rows, MAP@k and ACC@k, with intervals over products. items: product of each query."""
    rows = []
    for metric, values in ((f"MAP@{k}", precision), (f"ACC@{k}", accuracy)):
        interval = bootstrap_mean(np.asarray(values, float), items, n_resamples=n_resamples)
        rows.append(told | {"metric": metric, "k": k, "value": interval.value, "n": len(values),
                            "low": interval.low, "high": interval.high})
    return rows


def gain_row(values: np.ndarray, others: np.ndarray, items: np.ndarray, n_resamples: int, **told) -> dict:
    """One tidy row of a paired difference over queries, with its verdict by the interval; values, others: Q or S×Q,
    items: product of each query; see `seeds.gain_over_seeds`."""
    gain = gain_over_seeds(values, others, items, n_resamples)
    return told | {"value": gain.value, "low": gain.low, "high": gain.high, "verdict": verdict(gain)}


def as_in_table4(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Table 4: a row a protocol, feature and split, a column a selection; mean over seeds, ± deviation."""
    def cell(values):
        return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")

    wide = table.groupby(["protocol", "feature", "split", "selection"], sort=False)["value"].agg(cell)
    order = [*dict.fromkeys(s for s in ("pre-trained", *SELECTIONS, *table["selection"]) if s in wide.index.levels[-1])]
    wide = wide.unstack("selection")[order].fillna("").reset_index()
    wide.columns.name = None
    return wide
