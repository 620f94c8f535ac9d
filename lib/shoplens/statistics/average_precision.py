"""Scores of a ranking: AP@k, whose mean is MAP@k, in the five conventions of that name; ACC@k (P2 §4.1, §5.4)."""

import numpy as np

CONVENTIONS = ("min", "relevant", "found", "k", "trapezoid")


def average_precision(hits: np.ndarray, relevant: np.ndarray, k: int = 20, convention: str = "min") -> np.ndarray:
    """AP@k of each query, float64 of Q; NaN where a query has nothing relevant (leave such queries out and count them).

    hits: bools Q×L, the ranking of each query, best first: is that image relevant? L ≥ k, or the whole gallery.
    relevant: Q counts of relevant images in the gallery, found or not. The sum of precisions at the hits among the
    first k is divided by
    "min": min(k, relevant), P2's (§5.4, and the challenge's): a perfect top k scores 1;
    "relevant": all relevant, so a perfect top k of a query with more than k scores less than 1;
    "found": the hits among the first k, so one hit at rank one scores 1 however many are missing;
    "k": k, so a query with fewer than k relevant can never score 1;
    "trapezoid": all relevant, with the mean of the precision before and at each hit (the Oxford buildings' script).
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"convention is one of {CONVENTIONS}, got {convention!r}")
    hits, relevant = np.asarray(hits, bool), np.asarray(relevant)
    if hits.ndim != 2 or relevant.shape != hits.shape[:1] or k < 1:
        raise ValueError(f"hits must be Q×L, relevant Q and k at least 1; got {hits.shape}, {relevant.shape}, {k}")
    if (hits.sum(axis=1) > relevant).any():
        raise ValueError("a query has more hits in its ranking than relevant images in the gallery")
    top = hits[:, :k]
    found, rank = top.cumsum(axis=1), np.arange(1, top.shape[1] + 1)
    precision = found / rank
    if convention == "trapezoid":
        before = np.divide(found - top, rank - 1, out=np.ones_like(precision), where=rank > 1)
        precision = (precision + before) / 2
    divisor = {"min": np.minimum(k, relevant), "relevant": relevant, "trapezoid": relevant,
               "found": np.maximum(found[:, -1], 1), "k": np.full(len(top), k)}[convention]
    total = (precision * top).sum(axis=1)
    return np.where(relevant > 0, total / np.maximum(divisor, 1), np.nan)


def accuracy_at(hits: np.ndarray, k: int = 20) -> np.ndarray:
    """ACC@k of each query: is any of its first k relevant? bools of Q (P2 §4.1)."""
    return np.asarray(hits, bool)[:, :k].any(axis=1)
