"""Gains of trainings that were repeated: what is chance among images or queries, and what among seeds."""

from collections.abc import Sequence

import numpy as np

from shoplens.metrics import Interval


def widened(gain: Interval, by_seed: Sequence[float]) -> Interval:
    """The interval of a mean over seeds, widened to each seed's own gain: where seeds disagree, no bootstrap over
    images or queries tells what another training would bring."""
    return Interval(gain.value, float(min(gain.low, *by_seed)), float(max(gain.high, *by_seed)))


def mean_over_items(values: np.ndarray, items: np.ndarray, draws: int, level: float = 0.95, seed: int = 0) -> Interval:
    """Mean over queries with its percentile bootstrap interval over *products*: queries that show one product succeed
    and fail together, so a product is drawn with all its queries.

    values: Q numbers; a NaN leaves its query out. items: product of each query, Q. Raises ValueError where no query
    has a number.
    """
    known = ~np.isnan(values)
    if not known.any():
        raise ValueError("there is no query with a score")
    of_item = np.unique(np.asarray(items)[known], return_inverse=True)[1]
    totals, counts = np.bincount(of_item, values[known]), np.bincount(of_item)
    drawn = np.random.default_rng(seed).integers(0, len(counts), (draws, len(counts)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(np.mean(values[known])), float(low), float(high))


def gain_over_seeds(values: np.ndarray, others: np.ndarray, items: np.ndarray, draws: int) -> Interval:
    """Paired difference over queries of the mean over seeds, its interval over products, `widened`. values, others: AP
    of each query, Q, or S×Q of the same S seeds; a NaN leaves its query out. items: product of each query, Q."""
    apart = np.atleast_2d(values) - np.atleast_2d(others)
    return widened(mean_over_items(apart.mean(axis=0), items, draws), np.nanmean(apart, axis=1))
