"""The loss of MCR's Eq. 3 without its penalty, and its gradient, for both denominators of Eq. 2 (P1 §3.3).

W, F, labels, sizes and masks are as in `mcr`. Matrix products run in F's precision, sums in float64.
"""

from collections.abc import Iterable, Sequence

import numpy as np

CHUNK = 8192  # images per matrix product: 8192 × 139 float32 scores stay inside the processor's cache


def layer_slices(sizes: Sequence[int]) -> list[slice]:
    """Where each layer's categories stand in Ω."""
    ends = np.cumsum(sizes)
    return [slice(int(end - size), int(end)) for end, size in zip(ends, sizes, strict=True)]


def chunks(F: np.ndarray) -> Iterable[np.ndarray]:
    """F in parts of at most CHUNK rows."""
    return (F[start:start + CHUNK] for start in range(0, len(F), CHUNK))


def layer_loss(W: np.ndarray, F: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """−Σ log softmax(F wᵀ)[y] over one layer's rows of W, and its gradient."""
    weights, value, gradient, start = W.astype(F.dtype), 0.0, np.zeros(W.shape), 0
    for f in chunks(F):
        own = (np.arange(len(f)), y[start:start + len(f)])
        start += len(f)
        p = f @ weights.T
        p -= p.max(axis=1, keepdims=True)
        logit = p[own]
        np.exp(p, out=p)
        total = p.sum(axis=1)
        value += float(np.sum(np.log(total) - logit, dtype=float))
        p /= total[:, None]
        p[own] -= 1
        gradient += p.T @ f
    return value, gradient


def literal_loss(W: np.ndarray, F: np.ndarray, labels: Sequence[np.ndarray], sizes: Sequence[int],
                  mask: np.ndarray) -> tuple[float, np.ndarray]:
    """−Σ log of Eq. 2 as printed, and its gradient: images of one label c share R_c, hence one small softmax."""
    value, gradient = 0.0, np.zeros(W.shape)
    for own, y in zip(layer_slices(sizes), labels, strict=True):
        order = np.argsort(y, kind="stable")
        ends = np.searchsorted(y[order], np.arange(own.stop - own.start + 1))
        for c in range(own.start, own.stop):
            rows = order[ends[c - own.start]:ends[c - own.start + 1]]
            classes, columns = np.flatnonzero(mask[c, :len(W)]), np.flatnonzero(mask[c])
            block = np.ix_(classes, columns)
            target = np.full(len(rows), np.searchsorted(classes, c))
            v, g = layer_loss(W[block], F[np.ix_(rows, columns)], target)
            value += v
            gradient[block] += g
    return value, gradient
