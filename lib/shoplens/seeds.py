"""Gains of trainings that were repeated: what is chance among images or queries, and what among seeds."""

from collections.abc import Sequence

import numpy as np

from shoplens import ranking
from shoplens.metrics import Interval


def widened(gain: Interval, by_seed: Sequence[float]) -> Interval:
    """The interval of a mean over seeds, widened to each seed's own gain: where seeds disagree, no bootstrap over
    images or queries tells what another training would bring."""
    return Interval(gain.value, float(min(gain.low, *by_seed)), float(max(gain.high, *by_seed)))


def gain_over_seeds(values: np.ndarray, others: np.ndarray, draws: int) -> Interval:
    """Paired difference over queries of the mean over seeds, `widened`. values, others: AP of each query, Q, or S×Q of
    the same S seeds; a NaN leaves its query out."""
    values, others = np.atleast_2d(values), np.atleast_2d(others)
    gain = ranking.mean_interval(values.mean(axis=0), others.mean(axis=0), draws=draws)
    return widened(gain, np.nanmean(values - others, axis=1))
