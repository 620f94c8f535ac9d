"""Hidden checks of coursework 06: a loss with missing labels, and what its divisor weighs (P1 §3.4, Eq. 7)."""

import math

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 06.1: attr_loss(s, y)


def by_loops(s, y):
    total, grad = 0.0, np.zeros(s.shape)
    for n, state in enumerate(y):
        if state == 0:
            continue
        highest = max(s[n])
        exponentials = [math.exp(one - highest) for one in s[n]]
        total += (math.log(sum(exponentials)) + highest - s[n, state - 1]) / len(y)
        for c, one in enumerate(exponentials):
            grad[n, c] = (one / sum(exponentials) - (c == state - 1)) / len(y)
    return total, grad


def some_labelled(rng, scale=1.0, images=12, states=4):
    y = rng.integers(1, states + 1, images)
    y[rng.permutation(images)[:images // 2]] = 0
    return scale * rng.normal(size=(images, states)), y


def nothing_labelled(rng):
    return rng.normal(size=(7, 3)), np.zeros(7, int)


def large(rng):
    s, y = some_labelled(rng, 2000.0)
    return s, np.where(y == 0, 1, y)


def all_labelled(rng):
    s, y = some_labelled(rng)
    return s, np.where(y == 0, 1, y)


def attr(s, y, divisor=None, silent=True, last=False, safe=True, in_grad=True, sign=1):
    """The right loss and derivative, and with other arguments than the defaults wrong ones."""
    label = np.where(y == 0, s.shape[1] - 1 if last else 0, y - 1)
    counts = (y != 0) | (not silent)
    e = np.exp(s - s.max(axis=1, keepdims=True) * safe)
    p = e / e.sum(axis=1, keepdims=True)
    z = s - s.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True)) if safe else np.log(p)
    share = np.float64(len(y)) if divisor is None else np.float64(divisor(y))
    rows = np.arange(len(y))
    loss = -np.where(counts, log_p[rows, label], 0.0).sum() / share
    p[rows, label] -= 1
    grad = p * (counts if in_grad else np.ones(len(y), bool))[:, None] / share
    return float(loss), sign * grad


def wrong(**how):
    return lambda s, y: attr(s, y, **how)


ATTR = Task(by_loops, (
    Check(VISIBLE, 1, "Two images, both labelled", calls=(
        (np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]]), np.array([1, 3])),)),
    Check("all images", 1, "The divisor is the number of all images, labelled or not", some_labelled, pure=True),
    Check("silent", 1, "An image without a label adds nothing and moves nothing, also where no image has one",
          (nothing_labelled, some_labelled)),
    Check("large scores", 1, "Scores in the thousands give a large loss, not infinity", large)), (
    Mutant("divides by the labelled images", wrong(divisor=lambda y: (y != 0).sum()), ("all images", "silent")),
    Mutant("divides by the labelled, or by 1", wrong(divisor=lambda y: max((y != 0).sum(), 1)),
           ("all images", "silent")),
    Mutant("not labelled = the last state", wrong(silent=False, last=True), ("all images", "silent")),
    Mutant("not labelled = the first state", wrong(silent=False), ("all images", "silent")),
    Mutant("not labelled moves the scores", wrong(in_grad=False), ("all images", "silent")),
    Mutant("overflow", wrong(safe=False), ("large scores",)),
    Mutant("the gradient's sign", wrong(sign=-1), (VISIBLE, "all images", "silent", "large scores")),
    Mutant("sum, not divided", wrong(divisor=lambda y: 1), (VISIBLE, "all images", "silent", "large scores")),
    Mutant("states counted from 0", lambda s, y: attr(s, np.where(y > 0, y % s.shape[1] + 1, 0)),
           (VISIBLE, "all images", "silent", "large scores"))))


# 06.2: weight_change(y)

def change_by_loops(y):
    factors = []
    for attribute in range(y.shape[1]):
        labelled = sum(1 for n in range(len(y)) if y[n, attribute] != 0)
        factors.append(len(y) / labelled if labelled else float("nan"))
    return np.array(factors)


def sparse(rng):
    """Attributes of very different shares, one of them labelled nowhere."""
    share = rng.permutation([0.9, 0.5, 0.3, 0.0])
    y = rng.integers(1, 6, (25, 4)) * (rng.random((25, 4)) < share)
    y[rng.integers(0, 25), share > 0] = 1
    return (y,)


CHANGE = Task(change_by_loops, (
    Check(VISIBLE, 1, "Labelled on all four images: 1; on one of four: 4",
          calls=((np.array([[1, 0], [2, 0], [1, 3], [1, 0]]),),)),
    Check("sparse", 1, "All images over the attribute's own labelled images; states are no numbers to add up; NaN "
          "where nothing is labelled", sparse, cases=6, pure=True)), (
    Mutant("the share", lambda y: (y != 0).mean(axis=0), (VISIBLE, "sparse")),
    Mutant("infinite where nothing is labelled", lambda y: len(y) / np.float64((y != 0).sum(axis=0)), ("sparse",)),
    Mutant("1 where nothing is labelled", lambda y: len(y) / np.where((y != 0).any(0), (y != 0).sum(0), len(y)),
           ("sparse",)),
    Mutant("adds up the states", lambda y: len(y) / y.sum(axis=0), (VISIBLE, "sparse")),
    Mutant("counts state 1 alone", lambda y: len(y) / np.maximum((y == 1).sum(axis=0), 1), (VISIBLE, "sparse")),
    Mutant("over all attributes", lambda y: np.full(y.shape[1], y.size / (y != 0).sum()), (VISIBLE, "sparse")),
    Mutant("by image", lambda y: y.shape[1] / (y != 0).sum(axis=1), (VISIBLE, "sparse"))))


TASKS = {"06.1": ATTR, "06.2": CHANGE}
