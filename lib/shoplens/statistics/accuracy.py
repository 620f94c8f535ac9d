"""ACC and MACC (P1 §4.1), and McNemar's paired test over images; their intervals are in `bootstrap`."""

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


def mcnemar(correct: np.ndarray, against: np.ndarray) -> float:
    """Exact two-sided p-value of McNemar's test that two models err equally often on the same images.

    Only images on which they disagree count; with none the p-value is 1.
    """
    correct, against = np.asarray(correct, bool), np.asarray(against, bool)
    won, lost = int((correct & ~against).sum()), int((~correct & against).sum())
    return float(binomtest(won, won + lost, 0.5).pvalue) if won + lost else 1.0
