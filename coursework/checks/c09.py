"""Hidden checks of coursework 09: candidates by rank, and where a triplet pushes (P2 §3.3, Eq. 3–4)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 09.1: select(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin)


def select_by_loops(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin):
    positives = sorted(zip(d_p.tolist(), rows_p.tolist(), strict=True))
    negatives = sorted(zip(d_n.tolist(), rows_n.tolist(), strict=True))
    to_p, p = positives[r - 1] if r <= len(positives) else positives[-1]
    to_n, n = negatives[0]
    near = [row for distance, row in negatives if distance < to_p + margin]
    unsure = [row for distance, row in positives if distance + margin > to_n]
    return p, np.array(near[:hard], int), n, np.array(unsure[:ambiguous], int)


def lists(rng, positives, negatives, step=1 / 64):
    """Row numbers in any order, and distances in steps, so that sums are exact and some are equal."""
    rows = rng.permutation(1000)[:positives + negatives]
    d_p, d_n = (step * rng.integers(1, 2 / step, size) for size in (positives, negatives))
    return rows[:positives], d_p, rows[positives:], d_n


def in_no_order(rng):
    return *lists(rng, 9, 14), 4, 5, 3, 1 / 8


def tied(rng):
    return *lists(rng, 10, 12, 1 / 4), 3, 6, 4, 1 / 4


def short(rng):
    """No distance equals another, and there is no margin."""
    rows_p, d_p, rows_n, d_n = lists(rng, 3, 4)
    return rows_p, d_p, rows_n, d_n + 1 / 128, 20, 10, 10, 0.0


def in_perfect_order(rng):
    """Nobody violates anything."""
    rows_p, d_p, rows_n, d_n = lists(rng, 3, 4)
    return rows_p, d_p, rows_n, d_n + d_p.max() + 1, 20, 10, 10, 1 / 8


def near_margin(rng):
    """Distances a margin apart, exactly, just within and just beyond; a positive far ahead and some behind n'."""
    gap, order_p, order_n = 1 / 8, rng.permutation(5), rng.permutation(6)
    d_p = np.array([1 / 4, 1 / 2, 5 / 8, 3 / 4, 1.0])
    d_n = np.array([3 / 4, 3 / 4 + gap / 2, 3 / 4 + gap, 1.0, 1 + gap, 5 / 4])
    rows = rng.permutation(100)[:11]
    return rows[:5], d_p[order_p], rows[5:], d_n[order_n], int(rng.integers(4, 6)), 10, 2, gap


def select(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin, margin_p=1, margin_n=1, farthest=False,
           farthest_n=False, equal=False, against_p=False, by_row=True):
    """The right choice, and with other arguments than the defaults a wrong one."""
    near_p = np.lexsort((rows_p, d_p)) if by_row else np.argsort(d_p, kind="stable")
    near_n = np.lexsort((rows_n, d_n)) if by_row else np.argsort(d_n, kind="stable")
    chosen, closest = near_p[min(r, len(rows_p)) - 1], near_n[0]
    reach = d_p[chosen] + margin * margin_n
    violating = near_n[d_n[near_n] <= reach if equal else d_n[near_n] < reach]
    behind = d_p[chosen] if against_p else d_n[closest]
    unsure = near_p[d_p[near_p] + margin * margin_p > behind]
    violating, unsure = violating[::-1] if farthest_n else violating, unsure[::-1] if farthest else unsure
    return int(rows_p[chosen]), rows_n[violating[:hard]], int(rows_n[closest]), rows_p[unsure[:ambiguous]]


def other(**how):
    return lambda *arguments: select(*arguments, **how)


def assumes_order(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin):
    p = min(r, len(rows_p)) - 1
    return (int(rows_p[p]), rows_n[d_n < d_p[p] + margin][:hard], int(rows_n[0]),
            rows_p[d_p + margin > d_n[0]][:ambiguous])


def past_the_list(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin):
    assert r <= len(rows_p)
    return select(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin)


def first_then(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin):
    """Cuts the list of negatives before it asks for the margin."""
    p, _, n, unsure = select(rows_p, d_p, rows_n, d_n, r, hard, ambiguous, margin)
    return p, rows_n[np.lexsort((rows_n, d_n))[:hard]], n, unsure


TOY = (np.array([10, 11, 12, 13]), np.array([0.20, 0.50, 0.90, 1.30]), np.array([20, 21, 22]),
       np.array([0.55, 0.95, 1.50]), 3, 10, 2, 0.1)

SELECT = Task(select_by_loops, (
    Check(VISIBLE, 1, "On the toy distances p' is 12, hard are 20 and 21, n' is 20, ambiguous 11 and 12", calls=(TOY,)),
    Check("order", 1, "Lists come in no order and stay as they were; equal distances rank by row number",
          (tied, in_no_order), cases=8, pure=True),
    Check("short lists", 1, "With fewer positives than r the last one counts, and a list may come out short or empty",
          (short, in_perfect_order), cases=6),
    Check("margin", 1, "Both sides have the margin, equal is not a violation, and the nearest violators come first",
          near_margin, cases=6)), (
    Mutant("rank past the list", past_the_list, ("short lists",)),
    Mutant("no margin for negatives", other(margin_n=0), (VISIBLE, "order", "margin")),
    Mutant("no margin for positives", other(margin_p=0), (VISIBLE, "order", "margin")),
    Mutant("the farthest ambiguous", other(farthest=True), (VISIBLE, "order", "short lists", "margin")),
    Mutant("the farthest negatives", other(farthest_n=True), (VISIBLE, "order", "short lists", "margin")),
    Mutant("input taken as sorted", assumes_order, ("order", "short lists", "margin")),
    Mutant("≤ for <", other(equal=True), ("margin",), may=("order",)),
    Mutant("ambiguous against p'", other(against_p=True), (VISIBLE, "order", "short lists"), may=("margin",)),
    Mutant("equal distances in order of arrival", other(by_row=False), ("order",), may=("short lists",)),
    Mutant("hard negatives without a violation", first_then, (VISIBLE, "order", "short lists", "margin"))))


# 09.2: triplet_grad(q, p, n, m)

def loss(q, p, n, m):
    return sum(max(0.0, float(((q - p)**2).sum()) + m - float(((q - one)**2).sum())) for one in n)


def by_differences(q, p, n, m, h=1e-6):
    found = []
    for which in range(3):
        slope = np.zeros((q, p, n)[which].shape)
        for at in np.ndindex(slope.shape):
            ahead, behind = [q.copy(), p.copy(), n.copy()], [q.copy(), p.copy(), n.copy()]
            ahead[which][at] += h
            behind[which][at] -= h
            slope[at] = (loss(*ahead, m) - loss(*behind, m)) / (2 * h)
        found.append(slope)
    return tuple(found)


def triplets(rng, near, between, far):
    """A query, a positive at distance 1, and negatives nearer than it, farther by less than the margin, and beyond, in
    any order."""
    count = near + between + far
    q, way = rng.normal(size=4), rng.normal(size=(1 + count, 4))
    way = way / np.linalg.norm(way, axis=1, keepdims=True)
    length = np.concatenate([rng.uniform(0.4, 0.9, near), rng.uniform(1.02, 1.12, between), rng.uniform(1.2, 2, far)])
    n = q + way[1:] * length[:, None]
    return q, q + way[0], n[rng.permutation(count)], 0.3


def grad(q, p, n, m, every=False, once=False, mean=False, sign=1, factor=2, n_moves_q=1, margin=1, plain=False):
    """The right derivatives, and with other arguments than the defaults wrong ones."""
    active = ((q - p)**2).sum() + m * margin - ((q - n)**2).sum(axis=1) > 0
    active = np.ones(len(n), bool) if every else active
    count = min(int(active.sum()), 1) if once else int(active.sum())
    by_n = factor * (q - n) * active[:, None] * sign
    by_p = factor * count * (p - q)
    if plain:
        by_n = by_n / 2 / np.linalg.norm(q - n, axis=1, keepdims=True)
        by_p = by_p / 2 / np.linalg.norm(q - p)
    share = max(int(active.sum()), 1) if mean else 1
    return (-by_p - n_moves_q * by_n.sum(axis=0)) / share, by_p / share, by_n / share


def wrong(**how):
    return lambda *arguments: grad(*arguments, **how)


def needs_one(q, p, n, m):
    assert len(n)
    return grad(q, p, n, m)


TRIPLET = Task(by_differences, (
    Check(VISIBLE, 1, "One negative that violates the margin", calls=(
        (np.array([1.0, 0.0]), np.array([0.8, 0.6]), np.array([[0.9, 0.435]]), 0.1),)),
    Check("at rest", 1, "A triplet beyond the margin pushes nobody; there may be no negative at all",
          tuple(lambda rng, n=n: triplets(rng, *n) for n in ((1, 0, 3), (0, 0, 2), (0, 0, 0))), cases=6),
    Check("sum", 1, "Every violating triplet pulls at query and positive, and the sum is not divided",
          lambda rng: triplets(rng, 3, 2, 0), pure=True)), (
    Mutant("triplets at rest count", wrong(every=True), ("at rest",)),
    Mutant("the positive is pulled once", wrong(once=True), ("sum",)),
    Mutant("mean over violating triplets", wrong(mean=True), ("sum",)),
    Mutant("negatives drawn in", wrong(sign=-1), (VISIBLE, "at rest", "sum")),
    Mutant("half of it", wrong(factor=1), (VISIBLE, "at rest", "sum")),
    Mutant("the query feels the positive alone", wrong(n_moves_q=0), (VISIBLE, "at rest", "sum")),
    Mutant("no margin", wrong(margin=0), ("sum",)),
    Mutant("plain distance", wrong(plain=True), (VISIBLE, "at rest", "sum")),
    Mutant("fails without negatives", needs_one, ("at rest",))), tolerance=1e-5)


TASKS = {"09.1": SELECT, "09.2": TRIPLET}
