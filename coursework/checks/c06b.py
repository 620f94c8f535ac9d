"""Hidden checks of coursework 06b: the best rules for ACC and MACC, and the strength of the adjustment."""

import itertools

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 06b.1: best_rules(share, looks)


def rules_by_trying(share, looks):
    """All rules there are: the first of the best, in the order of their digits."""
    classes, kinds = looks.shape
    best = {"acc": (-1, None), "macc": (-1, None)}
    for rule in itertools.product(range(classes), repeat=kinds):
        right = [sum(looks[c, x] for x in range(kinds) if rule[x] == c) for c in range(classes)]
        for name, value in (("acc", sum(p * r for p, r in zip(share, right, strict=True))),
                            ("macc", sum(right) / classes)):
            if value > best[name][0] + 1e-12:
                best[name] = value, rule
    return np.array(best["acc"][1]), np.array(best["macc"][1])


def world(rng, classes=3, kinds=4):
    share = rng.permutation(np.array([0.6, 0.3, 0.1]))[:classes]
    looks = rng.dirichlet(np.ones(kinds), classes)
    return share / share.sum(), looks


def unequal(rng):
    """Worlds in which the two best rules differ, and differ from that of sums."""
    while True:
        share, looks = world(rng)
        acc, macc = (share[:, None] * looks).argmax(0), looks.argmax(0)
        if (acc != macc).any() and ((share[:, None] + looks).argmax(0) != acc).any() and (macc > 0).any():
            return share, looks


def tied(rng):
    """A kind that no class shows, and two classes alike."""
    looks = rng.dirichlet(np.ones(3), 3)
    looks[2] = looks[1] if rng.random() < 0.5 else looks[0]
    return np.array([0.3, 0.35, 0.35]), np.insert(looks, rng.integers(0, 4), 0.0, axis=1)


def last(values):
    return len(values) - 1 - values[::-1].argmax(axis=0)


RULES = Task(rules_by_trying, (
    Check(VISIBLE, 1, "Where class 0 is nine times as common: always 0 for ACC, and 0, 0, 1 for MACC", calls=(
        (np.array([0.9, 0.1]), np.array([[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]])),)),
    Check("products", 1, "For ACC share times looks counts, for MACC looks alone", unequal, pure=True),
    Check("ties", 1, "Where several classes are as good, also for a kind that nobody shows: the smallest number", tied,
          cases=6)), (
    Mutant("adds", lambda share, looks: ((share[:, None] + looks).argmax(0), looks.argmax(0)), ("products", "ties")),
    Mutant("divides by the share", lambda share, looks: (looks.argmax(0), (looks / share[:, None]).argmax(0)),
           (VISIBLE, "products"), may=("ties",)),
    Mutant("ACC's rule for both", lambda share, looks: ((share[:, None] * looks).argmax(0),) * 2,
           (VISIBLE, "products"), may=("ties",)),
    Mutant("MACC's rule for both", lambda share, looks: (looks.argmax(0),) * 2, (VISIBLE, "products"),
           may=("ties",)),
    Mutant("always the most common", lambda share, looks: (np.full(looks.shape[1], share.argmax()), looks.argmax(0)),
           ("products", "ties")),
    Mutant("the last of equals", lambda share, looks: (last(share[:, None] * looks), last(looks)),
           (VISIBLE, "ties")),
    Mutant("by class, not by kind", lambda share, looks: ((share[:, None] * looks).argmax(1), looks.argmax(1)),
           (VISIBLE, "products", "ties")),
    Mutant("swapped", lambda share, looks: (looks.argmax(0), (share[:, None] * looks).argmax(0)),
           (VISIBLE, "products"), may=("ties",))))


# 06b.2: choose_tau(s, y, counts, grid)

def tau_by_loops(s, y, counts, grid):
    scores = {}
    largest = max(counts.tolist())
    known = [count or largest for count in counts.tolist()]
    for tau in grid:
        right = {}
        for row, label in zip(s.tolist(), y.tolist(), strict=True):
            adjusted = [one - tau * np.log(count / sum(known)) for one, count in zip(row, known, strict=True)]
            right.setdefault(label, []).append(adjusted.index(max(adjusted)) == label)
        scores[tau] = round(sum(sum(one) / len(one) for one in right.values()) / len(right), 12)
    return min(tau for tau in grid if scores[tau] == max(scores.values()))


def network(rng, counts, images=120, classes=None, lean=1.0):
    counts = np.array(counts)
    share = np.where(counts > 0, counts, counts.max()) / np.where(counts > 0, counts, counts.max()).sum()
    y = np.concatenate([np.repeat(classes or np.arange(len(counts)), 4),
                        rng.choice(len(counts) if classes is None else classes, images)])
    s = 2.0 * np.eye(len(counts))[y] + lean * np.log(share) + rng.normal(size=(len(y), len(counts)))
    return s, y, counts


def in_between(rng):
    """The best τ lies inside the grid, and is another for ACC, for shares of validation, and of the other sign."""
    while True:
        s, y, counts = network(rng, [400, 100, 20, 5], lean=0.8)
        y = np.where(rng.random(len(y)) < 0.5, 0, y)
        s[y == 0] += [2.0, 0, 0, 0]
        grid = rng.permutation([0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0]).tolist()
        right = tau_by_loops(s, y, counts, grid)
        if all(program(s, y, counts, grid) != right for program in (by_acc, by_validation, no_log)):
            return s, y, counts, grid


def equally_good(rng):
    """Every τ up to one is as good; the grid is not sorted."""
    s, y, counts = network(rng, [60, 50, 40])
    return 40 * np.eye(3)[y], y, counts, [0.5, *rng.permutation([0.2, 1.0, 0.7]).tolist()]


def never_trained(rng):
    """A class without training images, and one without validation images."""
    while True:
        s, y, counts = network(rng, [300, 0, 60, 20, 150], classes=[0, 1, 2, 3], lean=0.8)
        grid = [0.0, 0.3, 0.6, 0.9, 1.2, 2.0, 4.0]
        right = tau_by_loops(s, y, counts, grid)
        wrong = [program(s, y, counts, grid) for program in (floored, by_validation, no_log)]
        if right not in wrong and by_acc(s, y, counts, grid) == right:
            return s, y, counts, grid


def tau(s, y, share, grid, score=None, order=sorted, sign=1):
    best, chosen = -1.0, None
    for one in order(grid):
        right = (s - sign * one * share).argmax(axis=1) == y
        value = score(right, y) if score else np.mean([right[y == c].mean() for c in np.unique(y)])
        if value > best + 1e-12:
            best, chosen = value, one
    return chosen


def log_share(counts):
    known = np.where(counts > 0, counts, counts.max())
    return np.log(known / known.sum())


def by_acc(s, y, counts, grid):
    return tau(s, y, log_share(counts), grid, lambda right, y: right.mean())


def by_validation(s, y, counts, grid):
    return tau(s, y, log_share(np.bincount(y, minlength=len(counts))), grid)


def no_log(s, y, counts, grid):
    return tau(s, y, np.exp(log_share(counts)), grid)


def floored(s, y, counts, grid):
    return tau(s, y, np.log(np.maximum(counts, 1) / counts.sum()), grid)


TAU = Task(tau_by_loops, (
    Check(VISIBLE, 1, "The rare class needs a push of 0.5", calls=(
        (np.array([[2.0, 0.0], [1.5, 0.0], [0.5, 0.0], [0.5, 0.0]]), np.array([0, 0, 1, 1]), np.array([90, 10]),
         [0.0, 0.1, 0.5, 5.0]),)),
    Check("which score, which share", 1, "MACC chooses, with logarithms of the training shares; of equals the smallest",
          (in_between, equally_good), pure=True),
    Check("unseen classes", 1, "A class without training images is taken as common, not as infinitely rare",
          never_trained)), (
    Mutant("best for ACC", by_acc, ("which score, which share",)),
    Mutant("shares of validation", by_validation, (VISIBLE, "which score, which share", "unseen classes")),
    Mutant("shares without logarithm", no_log, (VISIBLE, "which score, which share", "unseen classes")),
    Mutant("larger τ on ties", lambda s, y, counts, grid: tau(
        s, y, log_share(counts), grid, order=lambda g: sorted(g, reverse=True)), ("which score, which share",)),
    Mutant("first of the grid on ties", lambda s, y, counts, grid: tau(s, y, log_share(counts), grid, order=list),
           ("which score, which share",)),
    Mutant("unseen class at a single image", floored, ("unseen classes",)),
    Mutant("unseen class at infinity", lambda s, y, counts, grid: tau(
        s, y, np.log(counts / counts.sum()), grid), ("unseen classes",)),
    Mutant("adds instead of subtracting", lambda s, y, counts, grid: tau(s, y, log_share(counts), grid, sign=-1),
           (VISIBLE, "which score, which share", "unseen classes"))))


# 06b.3: same_rule(classes)

def well_formed(value, classes):
    share, looks = (np.asarray(one, float) for one in value)
    return (share.shape == (classes,) and looks.ndim == 2 and len(looks) == classes and np.isclose(share.sum(), 1)
            and np.allclose(looks.sum(axis=1), 1) and share.min() > 0 and looks.min() >= 0
            and share.max() >= 2 * share.min() - 1e-12)


def clear_best(values):
    ordered = np.sort(values, axis=0)
    return (ordered[-1] > ordered[-2] + 1e-12).all()


def agrees(value, classes):
    share, looks = (np.asarray(one, float) for one in value)
    joint = share[:, None] * looks
    return (well_formed(value, classes) and looks.min() >= 1e-3 - 1e-12 and clear_best(joint) and clear_best(looks)
            and len(set(np.round(share, 12).tolist())) == classes
            and set(looks.argmax(0).tolist()) == set(range(classes))
            and (joint.argmax(0) == looks.argmax(0)).all())


def diagonal(classes, share=None, off=0.01, kinds=None):
    share = np.arange(2, 2 + classes) * 1.0 if share is None else share
    share[-1] = max(share[-1], 2 * share[0])
    looks = np.full((classes, classes), off) + np.eye(classes) * (1 - off * classes)
    return share / share.sum(), looks


def one_rare(classes):
    share = np.ones(classes)
    share[-1] = 2
    return diagonal(classes, share)


SAME = Task(None, (
    Check(VISIBLE, 1, "Shares and looks that are probabilities, one class twice as common as another",
          numbers=("CLASSES",), judge=well_formed),
    Check("agree", 1, "The looks must outweigh the shares for every class, by enough, and nothing may be tied",
          lambda rng: (int(rng.integers(3, 7)),), cases=6, judge=agrees)), (
    Mutant("equal classes", lambda classes: (np.full(classes, 1 / classes), diagonal(classes)[1]), (VISIBLE, "agree")),
    Mutant("some shares equal", one_rare, ("agree",)),
    Mutant("classes that look nearly alike", lambda classes: diagonal(classes, off=0.98 / classes), ("agree",)),
    Mutant("one class answers all", lambda classes: (diagonal(classes)[0], np.full((classes, classes), 1 / classes)),
           ("agree",)),
    Mutant("looks that never occur", lambda classes: diagonal(classes, off=0.0), ("agree",)),
    Mutant("two classes, whatever is asked", lambda classes: diagonal(2), (VISIBLE, "agree")),
    Mutant("shares that do not add up", lambda classes: (diagonal(classes)[0] * 2, diagonal(classes)[1]),
           (VISIBLE, "agree"))))


TASKS = {"06b.1": RULES, "06b.2": TAU, "06b.3": SAME}
