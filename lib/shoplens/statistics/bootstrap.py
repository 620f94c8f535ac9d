"""Percentile bootstrap intervals of ACC and MACC of one network; over seeds too: `over_images`, `over_products`."""

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


def _percentiles(value: float, resampled: Sequence[float], level: float) -> Interval:
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))
