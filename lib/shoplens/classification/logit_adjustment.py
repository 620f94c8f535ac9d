"""Logit adjustment: scores as if all classes were equally common.

Not in either paper: it serves the study's own variant. A. Menon et al., Long-Tail Learning via Logit Adjustment, 2021.
"""

from collections.abc import Iterable

import numpy as np

from shoplens.statistics import accuracy


def logit_adjust(scores: np.ndarray, counts: np.ndarray, tau: float) -> np.ndarray:
    """scores − τ log π, with π the classes' shares of the training images.

    scores: N×C logits of a network trained by cross-entropy. counts: C training images per class. τ = 1 turns
    log P(c|x) into log P(x|c) up to a constant per image, whose best class is best for MACC; τ = 0 changes nothing.
    A class without training images counts as the most common one: nothing is known that could be adjusted.
    """
    counts = np.asarray(counts, float)
    counts = np.where(counts > 0, counts, counts.max())
    return np.asarray(scores) - tau * np.log(counts / counts.sum())


def choose_tau(scores: np.ndarray, labels: np.ndarray, counts: np.ndarray,
               grid: Iterable[float]) -> tuple[float, dict[float, float]]:
    """The τ of `grid` with the best MACC of these (validation) scores, the smaller where equal; and all τ → MACC.

    scores: N×C. labels: N class indices. counts: C training images per class.
    """
    found = {tau: accuracy.macc(accuracy.top_k_correct(logit_adjust(scores, counts, tau), labels), labels)
             for tau in sorted(map(float, grid))}
    return max(found, key=found.get), found
