"""Hidden checks of coursework 03: attention backwards, and how much of a map lies on the product (P1 §3.2)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 03.1: attend_backward(X, w, b, G)


def loss(X, w, b, G):
    """The loss whose derivative by X' is G everywhere: the sum of G·X'."""
    total = 0.0
    for i in range(X.shape[1]):
        for j in range(X.shape[2]):
            score = sum(w[c] * X[c, i, j] for c in range(len(w))) + b
            a = 1 / (1 + np.exp(-score)) if score >= 0 else np.exp(score) / (1 + np.exp(score))
            total += a * sum(G[c, i, j] * X[c, i, j] for c in range(len(w)))
    return total


def by_differences(X, w, b, G, h=1e-6):
    def slope(of, at):
        ahead, behind = [X.copy(), w.copy(), b], [X.copy(), w.copy(), b]
        if of == 2:
            ahead[2], behind[2] = b + h, b - h
        else:
            ahead[of][at] += h
            behind[of][at] -= h
        return (loss(*ahead, G) - loss(*behind, G)) / (2 * h)
    by_X = np.array([slope(0, at) for at in np.ndindex(X.shape)]).reshape(X.shape)
    return by_X, np.array([slope(1, (c,)) for c in range(len(w))]), slope(2, ())


def module(rng, channels=3, h=2, w=3):
    shape = (channels, h, w)
    return rng.normal(size=shape), rng.normal(size=channels), float(rng.normal()), rng.normal(size=shape)


def one_place(rng):
    return module(rng, 4, 1, 1)


def biased(rng):
    X, w, _, G = module(rng)
    return X, w, float(rng.uniform(1, 2)), G


def large(rng):
    X, w, _, G = module(rng)
    scores = 900 * rng.choice([-1.0, 1.0], X.shape[1:])
    return X + w[:, None, None] * (scores - np.tensordot(w, X, 1)) / (w @ w), w, 0.0, G


def backward(X, w, b, G, direct=True, through=True, slope=True, own_sum=True, safe=True, with_b=True, over=np.sum,
             shared=False):
    """The right derivatives, and with other arguments than the defaults wrong ones."""
    score = np.tensordot(w, X, 1) + b * with_b
    a = (1 / (1 + np.exp(-np.clip(score, -700, 700)))) if safe else np.exp(score) / (1 + np.exp(score))
    by_a = (G if shared else G * X).sum(axis=0)
    by_score = by_a * a * (1 - a) if slope else by_a
    by_X = direct * a * G + through * w[:, None, None] * by_score
    return by_X, over(X * by_score, axis=(1, 2)), float(over(by_score)) if own_sum else by_score


def wrong(**how):
    return lambda *arguments: backward(*arguments, **how)


EVERY = (VISIBLE, "two ways", "sums", "large scores")

BACKWARD = Task(by_differences, (
    Check(VISIBLE, 1, "Two channels, one place, a score of zero", calls=(
        (np.array([[[1.0]], [[2.0]]]), np.array([2.0, -1.0]), 0.0, np.array([[[1.0]], [[0.0]]])),)),
    Check("two ways", 1, "X acts directly and through its weight, whose slope is a(1 − a)", one_place, pure=True),
    Check("sums", 1, "w and b act at every place: their derivatives are sums over places", module),
    Check("large scores", 1, "Scores in the hundreds, of either sign, give weights of 0 or 1, not NaN", large, cases=6),
    Check("bias", 1, "b belongs to the score", biased)), (
    Mutant("the path through a is missing", wrong(through=False), (VISIBLE, "two ways", "sums", "bias")),
    Mutant("the direct path is missing", wrong(direct=False), (*EVERY, "bias")),
    Mutant("no a(1 − a)", wrong(slope=False), (*EVERY, "bias")),
    Mutant("db not summed", wrong(own_sum=False), (*EVERY, "bias")),
    Mutant("means over places", wrong(over=np.mean), ("sums", "bias")),
    Mutant("overflow", wrong(safe=False), ("large scores",)),
    Mutant("b left out of the score", wrong(with_b=False), ("two ways", "sums", "bias")),
    Mutant("the weight's derivative without X", wrong(shared=True), ("two ways", "sums", "bias"))), tolerance=1e-4)


# 03.2: share_inside(maps, masks)

def share_by_loops(maps, masks):
    shares = []
    for one, mask in zip(maps, masks, strict=True):
        total = inside = 0.0
        for at in np.ndindex(one.shape):
            total += one[at]
            inside += one[at] if mask[at] else 0.0
        shares.append(inside / total if total > 0 else 0.0)
    return np.array(shares)


def several(rng):
    """Maps of very different size, one of them zero."""
    maps = rng.gamma(0.5, size=(5, 3, 4)) * 10.0 ** rng.integers(-3, 4, (5, 1, 1))
    maps[rng.integers(5)] = 0
    return maps, rng.random((5, 3, 4)) < rng.uniform(0.2, 0.8)


SHARE = Task(share_by_loops, (
    Check(VISIBLE, 1, "Of 0.6 and 0.1 on the product and 0.2 and 0.1 beside it, 0.7 lies inside", calls=(
        (np.array([[[0.6, 0.2], [0.1, 0.1]]]), np.array([[[True, False], [True, False]]])),)),
    Check("each map", 1, "Each map by its own total, and 0 for a map of zeros", several, cases=6, pure=True)), (
    Mutant("a map of zeros is NaN", lambda maps, masks: (maps * masks).sum((1, 2)) / maps.sum((1, 2)), ("each map",)),
    Mutant("by the total of all maps", lambda maps, masks: (maps * masks).sum((1, 2)) / maps.sum(), ("each map",)),
    Mutant("outside", lambda maps, masks: share_by_loops(maps, ~masks), (VISIBLE, "each map")),
    Mutant("mean on the product over mean", lambda maps, masks: share_by_loops(maps, masks) / masks.mean((1, 2)),
           (VISIBLE, "each map")),
    Mutant("the product's area", lambda maps, masks: masks.mean((1, 2)), (VISIBLE, "each map")),
    Mutant("places above the mean", lambda maps, masks: share_by_loops(
        (maps > maps.mean((1, 2), keepdims=True)).astype(float), masks), (VISIBLE, "each map")),
    Mutant("a map of zeros has the product's area", lambda maps, masks: np.where(
        maps.any((1, 2)), share_by_loops(maps, masks), masks.mean((1, 2))), ("each map",))))


TASKS = {"03.1": BACKWARD, "03.2": SHARE}
