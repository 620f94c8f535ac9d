"""Hidden checks of coursework 07: McNemar's test, Holm's correction, and distances of mistakes (P1 §4.3)."""

import math
from fractions import Fraction

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 07.1: mcnemar(a, b)


def p_by_fractions(a, b):
    won = sum(1 for one, other in zip(a, b, strict=True) if one and not other)
    lost = sum(1 for one, other in zip(a, b, strict=True) if other and not one)
    tail, term = Fraction(0), Fraction(1, 2**(won + lost))
    for k in range(min(won, lost) + 1):
        tail += term
        term = term * (won + lost - k) / (k + 1)
    return float(min(Fraction(1), 2 * tail))


def pair(rng, won, lost, alike=30):
    a = np.concatenate([np.ones(won), np.zeros(lost), rng.integers(0, 2, alike)]).astype(bool)
    b = np.concatenate([np.zeros(won), np.ones(lost), a[won + lost:]]).astype(bool)
    order = rng.permutation(len(a))
    return a[order], b[order]


def a_wins(rng):
    return pair(rng, int(rng.integers(8, 15)), int(rng.integers(2, 6)))


def b_wins(rng):
    return pair(rng, int(rng.integers(2, 6)), int(rng.integers(8, 15)))


def as_often(rng):
    n = int(rng.integers(1, 9))
    return pair(rng, n, n)


def never(rng):
    return pair(rng, 0, 0)


def thousands(rng):
    return pair(rng, 900, 1000, 50)


def tail(n, k):
    return sum(math.comb(n, i) for i in range(k + 1)) / 2**n


def counts(a, b):
    return int((a & ~b).sum()), int((~a & b).sum())


def one_sided(a, b):
    won, lost = counts(a, b)
    return tail(won + lost, min(won, lost))


def b_less_often(a, b):
    won, lost = counts(a, b)
    return min(1.0, 2 * tail(won + lost, lost))


def uncapped(a, b):
    return 2 * one_sided(a, b) if (a != b).any() else 1.0


def all_images(a, b):
    won, lost = counts(a, b)
    return min(1.0, 2 * tail(len(a), min(won, lost) + (len(a) - won - lost) // 2))


def chi_square(a, b):
    won, lost = counts(a, b)
    return math.erfc(abs(won - lost) / math.sqrt(2 * (won + lost))) if won + lost else 1.0


def floats(a, b):
    won, lost = counts(a, b)
    return min(1.0, 2 * sum(math.comb(won + lost, k) * 0.5**(won + lost) for k in range(min(won, lost) + 1)))


def nan_if_alike(a, b):
    return p_by_fractions(a, b) if (a != b).any() else float("nan")


def mid_p(a, b):
    won, lost = counts(a, b)
    n, k = won + lost, min(won, lost)
    return min(1.0, 2 * (tail(n, k) - math.comb(n, k) / 2**n / 2))


MCNEMAR = Task(p_by_fractions, (
    Check(VISIBLE, 1, "Three images for A alone and one for B alone give 10/16", calls=(
        (np.array([1, 1, 1, 0, 1, 0], bool), np.array([0, 0, 0, 1, 1, 0], bool)),)),
    Check("two-sided", 1, "Only disagreements count, whoever wins more of them, both tails, exactly", (a_wins, b_wins),
          pure=True),
    Check("limits", 1, "p is at most 1, also where they never disagree, and thousands of disagreements do not overflow",
          (as_often, never, thousands), cases=6)), (
    Mutant("one-sided", one_sided, (VISIBLE, "two-sided", "limits")),
    Mutant("the tail of one classifier", b_less_often, ("two-sided", "limits")),
    Mutant("uncapped", uncapped, ("limits",)),
    Mutant("images on which they agree count", all_images, (VISIBLE, "two-sided", "limits")),
    Mutant("chi-square", chi_square, (VISIBLE, "two-sided", "limits")),
    Mutant("overflow of floats", floats, ("limits",)),
    Mutant("NaN where they never disagree", nan_if_alike, ("limits",)),
    Mutant("mid-p", mid_p, (VISIBLE, "two-sided", "limits"))), tolerance=1e-9)


# 07.2: holm(p, alpha)

def holm_by_loops(p, alpha):
    stands = np.zeros(len(p), bool)
    for rank, (one, position) in enumerate(sorted(zip(p.tolist(), range(len(p)), strict=True))):
        if one > alpha / (len(p) - rank):
            break
        stands[position] = True
    return stands


def stopped(rng):
    """Some stand; one fails; a later one would be small enough for its own limit."""
    alpha = 0.05
    limits = alpha / np.arange(8, 0, -1)
    p = limits * np.array([0.5, 0.8, 0.9, 1.05, 0.95, 0.99, 1.5, 5.0])
    return rng.permutation(p), alpha


def between(rng):
    """All stand by Holm's limits; some would fail Bonferroni's."""
    return rng.permutation(0.1 / np.arange(6, 0, -1) * rng.uniform(0.8, 0.99, 6)), 0.1


def reject(p, alpha, limits=None, stop=True, back=True, up=False, start=0):
    order = np.argsort(p, kind="stable")
    m = len(p)
    limit = alpha / np.maximum(np.arange(m - start, -start, -1), 1) if limits is None else limits(alpha, m)
    passed = p[order] <= limit
    if up:
        passed = np.arange(m) <= (np.flatnonzero(passed).max() if passed.any() else -1)
    elif stop:
        passed = np.logical_and.accumulate(passed)
    if not back:
        return passed
    stands = np.zeros(m, bool)
    stands[order] = passed
    return stands


def other(**how):
    return lambda p, alpha: reject(p, alpha, **how)


HOLM = Task(holm_by_loops, (
    Check(VISIBLE, 1, "Two of four stand", calls=((np.array([0.2, 0.001, 0.03, 0.012]), 0.05),)),
    Check("step by step", 1, "Limits grow from α/m to α; the first that fails stops the rest; answers stand where "
          "their p stands", (stopped, between), pure=True)), (
    Mutant("Bonferroni", other(limits=lambda alpha, m: alpha / m), ("step by step",)),
    Mutant("no stop", other(stop=False), ("step by step",)),
    Mutant("in sorted order", other(back=False), (VISIBLE, "step by step")),
    Mutant("step up", other(up=True), ("step by step",)),
    Mutant("false discovery rate", other(limits=lambda alpha, m: alpha * np.arange(1, m + 1) / m, up=True),
           (VISIBLE, "step by step")),
    Mutant("limits one step ahead", other(start=1), (VISIBLE, "step by step")),
    Mutant("α fixed at 0.05, uncorrected", lambda p, alpha: p <= 0.05, (VISIBLE, "step by step")),
    Mutant("what fails", lambda p, alpha: ~holm_by_loops(p, alpha), (VISIBLE, "step by step"))))


# 07.3: mean_cost(ancestors, y, answer)

def cost_by_climbing(ancestors, y, answer):
    total = 0
    for one, other in zip(y, answer, strict=True):
        steps, layer = 0, len(ancestors) - 1
        while layer >= 0 and ancestors[layer, one] != ancestors[layer, other]:
            steps, layer = steps + 1, layer - 1
        total += steps
    return total / len(y)


def tree(rng):
    """Three layers; numbers of one layer occur in others too."""
    middle = rng.permutation(np.repeat(np.arange(6), 3))
    root = np.array([0, 0, 0, 1, 1, 1])[middle]
    y = rng.integers(0, 18, 40)
    return np.stack([root, middle, np.arange(18)]), y, np.where(rng.random(40) < 0.4, y, rng.integers(0, 18, 40))


COST = Task(cost_by_climbing, (
    Check(VISIBLE, 1, "Right is 0, the wrong leaf in the right root 1, the wrong root 2", calls=(
        (np.array([[0, 1, 1], [0, 1, 2]]), np.array([0, 1, 0]), np.array([0, 2, 1])),)),
    Check("every layer", 1, "Each layer that differs is one step, and right answers count as 0 in the mean", tree,
          cases=6, pure=True)), (
    Mutant("the share of mistakes", lambda anc, y, to: float((y != to).mean()), (VISIBLE, "every layer")),
    Mutant("over mistakes alone", lambda anc, y, to: cost_by_climbing(anc, y[y != to], to[y != to]),
           (VISIBLE, "every layer")),
    Mutant("leaf and root alone", lambda anc, y, to: cost_by_climbing(anc[[0, -1]], y, to), ("every layer",)),
    Mutant("layers that agree", lambda anc, y, to: float((anc[:, y] == anc[:, to]).sum(0).mean()), ("every layer",)),
    Mutant("there and back", lambda anc, y, to: 2 * cost_by_climbing(anc, y, to), (VISIBLE, "every layer")),
    Mutant("difference of numbers", lambda anc, y, to: float(np.abs(anc[:, y] - anc[:, to]).sum(0).mean()),
           ("every layer",)),
    Mutant("the sum", lambda anc, y, to: cost_by_climbing(anc, y, to) * len(y), (VISIBLE, "every layer"))))


TASKS = {"07.1": MCNEMAR, "07.2": HOLM, "07.3": COST}
