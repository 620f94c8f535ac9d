"""Percentile bootstrap intervals: of means over queries (by product where it is known), of ACC and MACC, and over
seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its bootstrap percentile interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: np.ndarray, clusters: np.ndarray | None = None, *, against: np.ndarray | None = None,
                   n_resamples: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean over queries with its percentile interval; with `against`, of the paired difference.

    values, against: Q numbers of the same queries; a query that is NaN in either is left out. clusters: product of each
    query, Q. Queries that show one product succeed and fail together, so a product is then drawn with all its queries;
    without it each query is drawn on its own. Raises ValueError where no query has a number.
    """
    values = np.asarray(values, float) - (0.0 if against is None else np.asarray(against, float))
    known = ~np.isnan(values)
    if not known.any():
        raise ValueError("there is no query with a score")
    values = values[known]
    rng = np.random.default_rng(seed)
    if clusters is None:
        means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(n_resamples)])
    else:
        cluster = np.unique(np.asarray(clusters)[known], return_inverse=True)[1]
        totals, counts = np.bincount(cluster, values), np.bincount(cluster)
        drawn = rng.integers(0, len(counts), (n_resamples, len(counts)))
        means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return _percentiles(float(np.mean(values)), means, level)


def bootstrap_accuracy(correct: np.ndarray, labels: np.ndarray, statistic: str = "acc", *,
                       against: np.ndarray | None = None, n_resamples: int = 1000, level: float = 0.95,
                       seed: int = 0) -> Interval:
    """"acc" or "macc" with its percentile interval over images; with `against`, of the difference to a second model
    scored on the same images (paired: both models see the same resample).

    correct, against: N bools, or shares in [0, 1] where several seeds were averaged. labels: N class indices. MACC's
    resamples keep each class's number of images, so no class is ever missed; a class with one test image adds no
    spread, whatever a second image would have shown. Raises ValueError for another statistic.
    """
    gain = np.asarray(correct, float) - (0.0 if against is None else np.asarray(against, float))
    labels = np.asarray(labels)
    if statistic not in ("acc", "macc"):
        raise ValueError(f"statistic must be 'acc' or 'macc', got {statistic!r}")
    strata = labels if statistic == "macc" else np.zeros(len(gain), int)
    order = np.argsort(strata, kind="stable")
    sizes = np.unique(strata, return_counts=True)[1]
    first, size = np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)
    gain = gain[order]

    def mean_of_means(values):
        return np.mean(np.add.reduceat(values, np.cumsum(sizes) - sizes) / sizes)

    rng = np.random.default_rng(seed)
    drawn = [mean_of_means(gain[first + rng.integers(0, size)]) for _ in range(n_resamples)]
    return _percentiles(float(mean_of_means(gain)), drawn, level)


def widened(gain: Interval, by_seed: Sequence[float]) -> Interval:
    """The interval of a mean over seeds, widened to each seed's own gain: where seeds disagree, no bootstrap over
    images or queries knows what another training would bring."""
    return Interval(gain.value, float(min(gain.low, *by_seed)), float(max(gain.high, *by_seed)))


def gain_over_seeds(values: np.ndarray, others: np.ndarray, items: np.ndarray, n_resamples: int) -> Interval:
    """Paired difference over queries of the mean over seeds, its interval over products, `widened`. values, others: AP
    of each query, Q, or S×Q of the same S seeds; a NaN leaves its query out. items: product of each query, Q."""
    difference = np.atleast_2d(values) - np.atleast_2d(others)
    mean = bootstrap_mean(difference.mean(axis=0), items, n_resamples=n_resamples)
    return widened(mean, np.nanmean(difference, axis=1))


def _percentiles(value: float, resampled: Sequence[float], level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
