"""Hidden checks of coursework 08: average precision, NetVLAD, and two conventions at odds (P2 §3.1, §5.4)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 08.1: ap(hits, relevant, k)


def ap_by_loops(hits, relevant, k):
    scores = []
    for row, total in zip(hits, relevant, strict=True):
        found, score = 0, 0.0
        for place in range(min(k, len(row))):
            if row[place]:
                found += 1
                score += found / (place + 1)
        scores.append(score / min(k, total) if total else float("nan"))
    return np.array(scores)


def rankings(rng, length, more, queries=8):
    """Rankings with hits anywhere, at least one early, and up to `more` relevant images that were not found."""
    hits = rng.random((queries, length)) < 0.4
    hits[:, 0] |= ~hits[:, :3].any(axis=1)
    return hits, hits.sum(axis=1) + rng.integers(0, more + 1, queries)


def few_relevant(rng):
    """R < k, some never found, and lists longer than k."""
    hits = np.zeros((8, 30), bool)
    hits[np.arange(8), rng.integers(0, 10, 8)] = hits[np.arange(8), rng.integers(10, 14, 8)] = True
    return hits, hits.sum(axis=1) + rng.integers(1, 5, 8), 15


def many_relevant(rng):
    """R > k, hits behind k too."""
    hits, relevant = rankings(rng, 25, 9)
    return hits, np.maximum(relevant, 9), int(rng.integers(4, 8))


def nothing_relevant(rng):
    """Queries without a relevant image, and lists shorter than k."""
    hits, relevant = rankings(rng, 6, 3)
    empty = rng.permutation(8)[:3]
    hits[empty], relevant[empty] = False, 0
    return hits, relevant, 10


def divided(by, places=None, empty=np.nan):
    def program(hits, relevant, k):
        top = hits[:, :places or k]
        total = (top.cumsum(axis=1) / np.arange(1, top.shape[1] + 1) * top).sum(axis=1)
        return np.where(relevant > 0, total / np.maximum(by(top, relevant, k), 1), empty)
    return program


def smaller(top, relevant, k):
    return np.minimum(k, relevant)


def every_place(hits, relevant, k):
    top = hits[:, :k]
    return np.where(relevant > 0, (top.cumsum(1) / np.arange(1, top.shape[1] + 1)).sum(1) / np.maximum(
        np.minimum(k, relevant), 1), np.nan)


def trapezoid(hits, relevant, k):
    top = hits[:, :k]
    found, place = top.cumsum(axis=1), np.arange(1, top.shape[1] + 1)
    before = np.where(place > 1, (found - top) / np.maximum(place - 1, 1), 1.0)
    return np.where(relevant > 0, ((found / place + before) / 2 * top).sum(1) / np.maximum(
        np.minimum(k, relevant), 1), np.nan)


AP = Task(ap_by_loops, (
    Check(VISIBLE, 1, "Hits at places 1 and 3 of five relevant images score a third", calls=(
        (np.array([[1, 0, 1, 0, 0, 0, 0, 0]], bool), np.array([5]), 20),)),
    Check("divisor", 1, "The divisor is the smaller of k and the relevant images, found or not; only k places count",
          (few_relevant, many_relevant), cases=8, pure=True),
    Check("nothing relevant", 1, "A query without a relevant image is NaN, and a list may be shorter than k",
          nothing_relevant)), (
    Mutant("divides by all relevant", divided(lambda top, relevant, k: relevant), ("divisor",)),
    Mutant("divides by k", divided(lambda top, relevant, k: np.full(len(top), k)),
           (VISIBLE, "divisor", "nothing relevant")),
    Mutant("divides by hits found", divided(lambda top, relevant, k: top.sum(axis=1)),
           (VISIBLE, "divisor", "nothing relevant")),
    Mutant("0 for NaN", divided(smaller, empty=0.0), ("nothing relevant",)),
    Mutant("k ignored in the ranking", divided(smaller, places=1000), ("divisor",)),
    Mutant("k fixed at 20", lambda hits, relevant, k: ap_by_loops(hits, relevant, 20), ("divisor",)),
    Mutant("precision at every place, not at hits", every_place, (VISIBLE, "divisor", "nothing relevant")),
    Mutant("averaged precision", trapezoid, (VISIBLE, "divisor", "nothing relevant")),
    Mutant("the mean over queries", lambda hits, relevant, k: float(np.nanmean(ap_by_loops(hits, relevant, k))),
           (VISIBLE, "divisor", "nothing relevant"))))


# 08.2: netvlad(x, c, a)

def netvlad_by_loops(x, c, a):
    rows = [np.zeros(x.shape[1]) for _ in c]
    for one in x:
        near = [a * float(centre @ one) / float(np.sqrt(centre @ centre)) for centre in c]
        weights = [np.exp(n - max(near)) for n in near]
        for k, centre in enumerate(c):
            rows[k] = rows[k] + weights[k] / sum(weights) * (one - centre)
    rows = [row / np.sqrt(row @ row) if row.any() else row for row in rows]
    whole = np.concatenate(rows)
    return whole / np.sqrt(whole @ whole) if whole.any() else whole


def places(rng, n=9, channels=4, centres=3, a=None):
    x = rng.normal(size=(n, channels))
    c = rng.normal(size=(centres, channels)) * rng.uniform(0.3, 2, (centres, 1))
    return x / np.linalg.norm(x, axis=1, keepdims=True), c, float(rng.uniform(1, 8) if a is None else a)


def hard(rng):
    """A softness at which exponentials overflow; each place has a clear favourite, and some centre gets nothing."""
    while True:
        x, c, _ = places(rng, n=3, centres=4)
        near = np.sort(x @ (c / np.linalg.norm(c, axis=1, keepdims=True)).T, axis=1)
        if (near[:, -1] - near[:, -2]).min() > 0.3:
            return x, c, float(rng.uniform(5e3, 9e3))


def vlad(x, c, a, over=1, unit_centres=True, residual=True, intra=True, safe=True, whole=True, zero=1.0):
    """The right feature, and with other arguments than the defaults a wrong one."""
    near = a * x @ (c / np.linalg.norm(c, axis=1, keepdims=True) if unit_centres else c).T
    share = np.exp(near - near.max(axis=over, keepdims=True) * safe)
    share = share / share.sum(axis=over, keepdims=True)
    V = share.T @ x - share.sum(axis=0)[:, None] * c * residual
    if intra:
        length = np.linalg.norm(V, axis=1, keepdims=True)
        V = V / np.where(length > 0, length, zero)
    return (V / np.linalg.norm(V) if whole else V).ravel()


def other(**how):
    return lambda x, c, a: vlad(x, c, a, **how)


def by_channel(x, c, a):
    return vlad(x, c, a).reshape(c.shape).T.ravel()


NETVLAD = Task(netvlad_by_loops, (
    Check(VISIBLE, 1, "With one centre it is the sum of what the places miss it by, at unit length", calls=(
        (np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), np.array([[0.1, 0.1]]), 5.0),)),
    Check("shares and lengths", 1, "Each place is shared out among centres of unit length; every row of V is brought "
          "to unit length, then the whole", places, pure=True),
    Check("hard assignment", 1, "With a large a nothing overflows, and a centre that gets nothing is not divided by 0",
          hard, cases=8)), (
    Mutant("no intra-normalisation", other(intra=False), ("shares and lengths", "hard assignment")),
    Mutant("softmax over places", other(over=0), (VISIBLE, "shares and lengths", "hard assignment")),
    Mutant("centres not scaled", other(unit_centres=False), ("shares and lengths",), may=("hard assignment",)),
    Mutant("sums places, not what they miss", other(residual=False),
           (VISIBLE, "shares and lengths", "hard assignment")),
    Mutant("overflow", other(safe=False), ("hard assignment",)),
    Mutant("an empty centre is NaN", other(zero=0.0), ("hard assignment",)),
    Mutant("the whole not scaled", other(whole=False), ("shares and lengths", "hard assignment")),
    Mutant("softness ignored", lambda x, c, a: vlad(x, c, 1.0), ("shares and lengths", "hard assignment")),
    Mutant("laid out by channel", by_channel, ("shares and lengths", "hard assignment"))))


# 08.3: opposite(relevant)

def possible(value, relevant):
    first, second = (np.asarray(one) for one in value)
    return (first.shape == second.shape == (20,) and first.dtype == second.dtype == bool
            and 0 < first.sum() <= relevant and 0 < second.sum() <= relevant)


def by(divisor, ranking):
    return (ranking.cumsum() / np.arange(1, 21) * ranking).sum() / divisor


def opposed(value, relevant):
    first, second = value
    return (possible(value, relevant) and by(first.sum(), first) > by(second.sum(), second)
            and by(relevant, first) < by(relevant, second))


def ranking(*at):
    hits = np.zeros(20, bool)
    hits[list(at)] = True
    return hits


OPPOSITE = Task(None, (
    Check(VISIBLE, 1, "Two rankings of 20 places, with hits, and no more than there are relevant images",
          numbers=("RELEVANT",), judge=possible),
    Check("opposite", 1, "Dividing by the hits found rewards few early hits, dividing by all relevant rewards many",
          lambda rng: (int(rng.integers(5, 21)),), cases=8, judge=opposed)), (
    Mutant("the other way round", lambda relevant: (ranking(*range(1, 1 + relevant)) if relevant < 20 else
                                                    ranking(*range(1, 20)), ranking(0)), ("opposite",)),
    Mutant("both the same", lambda relevant: (ranking(0), ranking(0)), ("opposite",)),
    Mutant("more of the same, as early", lambda relevant: (ranking(0), ranking(0, 1)), ("opposite",)),
    Mutant("one late hit against none better", lambda relevant: (ranking(1), ranking(3)), ("opposite",)),
    Mutant("more hits than relevant images", lambda relevant: (ranking(0), np.arange(20) > 0 if relevant < 19 else
                                                               np.zeros(20, bool)), (VISIBLE, "opposite")),
    Mutant("no hits at all", lambda relevant: (ranking(), ranking(0)), (VISIBLE, "opposite"))))


TASKS = {"08.1": AP, "08.2": NETVLAD, "08.3": OPPOSITE}
