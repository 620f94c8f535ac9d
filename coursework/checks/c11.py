"""Hidden checks of coursework 11: clearly apart, and how many images it takes (P1 §4.3)."""

import math

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

Z = 1.959963984540054

# 11.1: apart(p1, n1, p2, n2)


def apart_by_variances(p1, n1, p2, n2):
    """Compares squares: no root is drawn."""
    allowed = Z * Z * (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    if (p1 - p2) ** 2 <= allowed:
        return 0
    return 1 if p1 > p2 else -1


def near(factor, other_size=False):
    """Two shares that are `factor` half-widths apart, either way round; perhaps counted on very different numbers."""
    def draw(rng):
        n1 = int(rng.integers(500, 3000))
        n2 = int(n1 * rng.uniform(4, 8)) if other_size else n1
        p2 = float(rng.uniform(0.3, 0.6))
        p1 = p2
        for _ in range(60):
            p1 = p2 + factor * Z * math.sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
        return (p1, n1, p2, n2) if rng.random() < 0.5 else (p2, n2, p1, n1)
    return draw


def clearly_lower(rng):
    p1, n1, p2, n2 = near(1.6)(rng)
    return (p1, n1, p2, n2) if p1 < p2 else (p2, n2, p1, n1)


def by(half):
    return lambda p1, n1, p2, n2: 0 if abs(p1 - p2) <= half(p1, n1, p2, n2) else 1 if p1 > p2 else -1


def deviation(p, n):
    return math.sqrt(p * (1 - p) / n)


APART = Task(apart_by_variances, (
    Check(VISIBLE, 1, "80 and 79 % of 2,500 are not clearly apart, 80 and 76 % are",
          calls=((0.80, 2500, 0.79, 2500), (0.80, 2500, 0.76, 2500))),
    Check("how far, which way", 1, "Variances are added, not deviations; z is two-sided; and lower is another answer "
          "than not clear", (near(0.93), near(1.07), clearly_lower, near(1.2), near(0.9, True), near(1.1, True)),
          cases=12)), (
    Mutant("deviations added", by(lambda p1, n1, p2, n2: Z * (deviation(p1, n1) + deviation(p2, n2))),
           ("how far, which way",)),
    Mutant("one-sided z", by(lambda p1, n1, p2, n2: 1.6449 * math.hypot(deviation(p1, n1), deviation(p2, n2))),
           ("how far, which way",)),
    Mutant("no z", by(lambda p1, n1, p2, n2: math.hypot(deviation(p1, n1), deviation(p2, n2))),
           ("how far, which way",)),
    Mutant("the first score's noise alone", by(lambda p1, n1, p2, n2: Z * deviation(p1, n1)),
           ("how far, which way",)),
    Mutant("a mean of both sizes", by(lambda p1, n1, p2, n2: Z * math.sqrt(
        (p1 * (1 - p1) + p2 * (1 - p2)) / ((n1 + n2) / 2))), ("how far, which way",)),
    Mutant("not clear = clearly not", lambda *a: 1 if apart_by_variances(*a) == 1 else -1,
           (VISIBLE, "how far, which way")),
    Mutant("lower = not clear", lambda *a: max(apart_by_variances(*a), 0), ("how far, which way",)),
    Mutant("no root", by(lambda p1, n1, p2, n2: Z * (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)),
           (VISIBLE, "how far, which way"))))


# 11.2: images_needed(p1, p2)

def needed_by_search(p1, p2):
    if p1 == p2:
        return None
    low, high = 0, 1
    while not apart_by_variances(p1, high, p2, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if apart_by_variances(p1, middle, p2, middle) else (middle, high)
    return high


def shares(rng):
    p2 = float(rng.uniform(0.2, 0.7))
    return tuple(rng.permutation([p2, p2 + float(rng.uniform(0.003, 0.2))]).tolist())


def certain(rng):
    return tuple(rng.permutation([0.0, 1.0]).tolist())


def equal(rng):
    p = float(rng.uniform(0.1, 0.9))
    return p, p


def formula(p1, p2, z=Z, variances=2.0, rounded=lambda n: math.floor(n) + 1, power=2, same=None):
    if p1 == p2:
        return same
    total = p1 * (1 - p1) + p2 * (1 - p2) if variances == 2 else variances * p1 * (1 - p1)
    return rounded(z**power * total / abs(p1 - p2)**power)


def other(**how):
    return lambda p1, p2: formula(p1, p2, **how)


NEEDED = Task(needed_by_search, (
    Check(VISIBLE, 1, "80 and 79 % take 12,520 images", calls=((0.80, 0.79),)),
    Check("smallest", 1, "The smallest whole number that is enough: one less is not; both scores bring noise", shares,
          cases=8),
    Check("the ends", 1, "Equal scores are never apart; certain ones are with a single image", (equal, certain))), (
    Mutant("rounded down", other(rounded=math.floor), (VISIBLE, "smallest", "the ends")),
    Mutant("one score's noise, twice", other(variances=2.0001), (VISIBLE, "smallest")),
    Mutant("one score's noise", other(variances=1), (VISIBLE, "smallest")),
    Mutant("one-sided z", other(z=1.6449), (VISIBLE, "smallest")),
    Mutant("not squared", other(power=1), (VISIBLE, "smallest")),
    Mutant("for both together", lambda p1, p2: None if p1 == p2 else 2 * formula(p1, p2),
           (VISIBLE, "smallest", "the ends")),
    Mutant("rounded up, which is none where certain", other(rounded=math.ceil), ("the ends",)),
    Mutant("0 for equal scores", other(same=0), ("the ends",)),
    Mutant("division by zero", lambda p1, p2: math.floor(Z**2 * (p1 * (1 - p1) + p2 * (1 - p2)) / (p1 - p2)**2) + 1,
           ("the ends",)),
    Mutant("infinity, as a float", other(same=np.inf), ("the ends",))))


TASKS = {"11.1": APART, "11.2": NEEDED}
