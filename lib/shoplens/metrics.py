"""ACC and MACC (P1 §4.1), with intervals and paired tests over images."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest


def top_k_correct(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """bool array of N: is the label among the k best scores of its row?

    scores: N×C floats. labels: N ints in [0, C). Equal scores rank by class index, so the answer is the same on
    every machine. Raises ValueError for labels out of range, k < 1 and NaN scores (a NaN would win silently).
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores must be N×C and labels N, got {scores.shape} and {labels.shape}")
    if k < 1 or len(labels) and (labels.min() < 0 or labels.max() >= scores.shape[1]):
        raise ValueError(f"k must be at least 1 and labels lie in [0, {scores.shape[1]}); got k={k}, "
                         f"labels {labels.min() if len(labels) else '-'} to {labels.max() if len(labels) else '-'}")
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).any(axis=1).sum())} rows of scores hold NaN")
    own = scores[np.arange(len(labels)), labels][:, None]
    ahead = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < labels[:, None]))
    return ahead.sum(axis=1) < k


def acc(correct: np.ndarray) -> float:
    """ACC: share of images classified correctly, in [0, 1] (micro average; P1 §4.1)."""
    return float(np.mean(correct))


def per_class(correct: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Accuracy of each class that occurs in `labels`."""
    hits, seen = np.bincount(labels, weights=correct), np.bincount(labels)
    return {int(c): float(hits[c] / seen[c]) for c in np.flatnonzero(seen)}


def macc(correct: np.ndarray, labels: np.ndarray) -> float:
    """MACC: mean over leaf classes of each class's accuracy, in [0, 1] (macro average; P1 §4.1).

    Classes without a test image do not count.
    """
    return float(np.mean(list(per_class(correct, labels).values())))


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its bootstrap percentile interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(correct: np.ndarray, labels: np.ndarray, statistic: str = "acc", *, against: np.ndarray | None = None,
              draws: int = 1000, level: float = 0.95, seed: int = 0) -> Interval:
    """Percentile bootstrap over images of "acc" or "macc"; with `against`, of the difference to a second model
    scored on the same images (paired: both models see the same resample).

    correct, against: N bools, or shares in [0, 1] where several seeds were averaged. labels: N class indices. MACC's
    resamples keep each class's number of images, so no class is ever missed; a class with one test image adds no
    spread, whatever a second image would have said.
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
    drawn = [mean_of_means(gain[first + rng.integers(0, size)]) for _ in range(draws)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean_of_means(gain)), float(low), float(high))


def mcnemar(correct: np.ndarray, against: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test that two models err equally often on the same images.

    Only images on which they disagree count; with none the p-value is 1.
    """
    correct, against = np.asarray(correct, bool), np.asarray(against, bool)
    won, lost = int((correct & ~against).sum()), int((~correct & against).sum())
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
