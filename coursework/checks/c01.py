"""Hidden checks of coursework 01: a split by hashes of names, and another core (P1 §4.1)."""

import hashlib
import math

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 01.1: split(item, leaf, seed)


def by_hash(seed, name):
    return hashlib.sha256(f"{seed}|{name}".encode()).hexdigest()


def split_by_rank(item, leaf, seed):
    """An item's place follows from how many items of its leaf have a smaller hash."""
    found = []
    for name, own in zip(item.tolist(), leaf.tolist(), strict=True):
        items = {other for other, of in zip(item.tolist(), leaf.tolist(), strict=True) if of == own}
        rank, n = sum(by_hash(seed, other) < by_hash(seed, name) for other in items), len(items)
        test = max(1, round(n * 2 / 10)) if n >= 2 else 0
        val = max(1, round(n / 10)) if n >= 3 else 0
        found.append("test" if rank < test else "val" if rank < test + val else "train")
    return np.array(found)


def shop(rng, sizes, views):
    """Images in any order: of each leaf so many items, of each item one to `views` images."""
    item, leaf = [], []
    for number, size in enumerate(sizes):
        for _ in range(size):
            name, seen = f"p{rng.integers(10**9)}", int(rng.integers(1, views + 1))
            item += [name] * seen
            leaf += [f"leaf{number}"] * seen
    order = rng.permutation(len(item))
    return np.array(item)[order], np.array(leaf)[order], int(rng.integers(1, 1000))


def one_leaf(rng):
    return shop(rng, [int(rng.integers(26, 30))], 1)


def many_views(rng):
    return shop(rng, [13, 21], 5)


def rare_leaves(rng):
    return shop(rng, [1, 2, 3, 4, 5, 14], 1)


def parts(item, leaf, seed, by_leaf=True, key=by_hash, units=set, order=("test", "val", "train"), least=1,
          rounded=round, tests=2):
    """The right split, and with other arguments than the defaults a wrong one."""
    names, groups = item.tolist(), (leaf if by_leaf else np.full(len(leaf), "all")).tolist()
    place = {}
    for group in set(groups):
        items = sorted(units([name for name, of in zip(names, groups, strict=True) if of == group]),
                       key=lambda name: key(seed, name))
        n = len(items)
        test = max(least, rounded(n * tests / 10)) if n >= 2 else 0
        val = max(least, rounded(n * (3 - tests) / 10)) if n >= 3 else 0
        for i, name in enumerate(items):
            place[name] = order[0] if i < test else order[1] if i < test + val else order[2]
    return np.array([place[name] for name in names])


def other(**how):
    return lambda *arguments: parts(*arguments, **how)


def images_parted(item, leaf, seed):
    """Splits images: the views of an item get places of their own."""
    numbered = np.array([f"{name}/{i}" for i, name in enumerate(item.tolist())])
    return parts(numbered, leaf, seed)


def by_arrival(item, leaf, seed):
    first = {name: i for i, name in reversed(list(enumerate(item.tolist())))}
    return parts(item, leaf, seed, key=lambda seed, name: first[name])


SPLIT = Task(split_by_rank, (
    Check(VISIBLE, 1, "Of ten items in the order of their hashes two are for testing, one for validation", calls=(
        (np.array([f"item{i}" for i in range(10)]), np.array(["boot"] * 10), 0),)),
    Check("names decide", 1, "The place follows from seed and name alone, in the given way: not from the order of rows "
          "nor from a hash that changes from run to run", one_leaf, pure=True),
    Check("items stay together", 1, "All images of an item go the same way, and items are counted, not images",
          many_views),
    Check("inside each leaf", 1, "Each leaf is split on its own, and one with few items still gives to test, then to "
          "validation", rare_leaves)), (
    Mutant("val and test swapped", other(order=("val", "test", "train")),
           (VISIBLE, "names decide", "items stay together", "inside each leaf")),
    Mutant("one for testing, two for validation", other(tests=1),
           (VISIBLE, "names decide", "items stay together", "inside each leaf")),
    Mutant("items parted", images_parted, (VISIBLE, "names decide", "items stay together", "inside each leaf")),
    Mutant("images counted, not items", other(units=list), ("items stay together",)),
    Mutant("row order matters", by_arrival, (VISIBLE, "names decide", "items stay together", "inside each leaf")),
    Mutant("another hash", other(key=lambda seed, name: int(hashlib.md5(f"{seed}{name}".encode()).hexdigest(), 16)),
           (VISIBLE, "names decide", "items stay together", "inside each leaf")),
    Mutant("seed ignored", other(key=lambda seed, name: by_hash(0, name)),
           ("names decide", "items stay together", "inside each leaf")),
    Mutant("over all leaves", other(by_leaf=False), ("items stay together", "inside each leaf")),
    Mutant("rare leaves train alone", other(least=0), ("inside each leaf",)),
    Mutant("rounded down", other(rounded=math.floor), ("names decide", "items stay together", "inside each leaf")),
    Mutant("sorted by name", other(key=lambda seed, name: name),
           (VISIBLE, "names decide", "items stay together", "inside each leaf"))))


# 01.2: core_by_leaf(leaf, attr)

def core_by_loops(leaf, attr):
    core = []
    for n in range(len(leaf)):
        own = [i for i in range(len(leaf)) if leaf[i] == leaf[n]]
        labels = [sum(1 for i in own if attr[i, a] > 0) for a in range(attr.shape[1])]
        core.append(bool(attr[n, labels.index(max(labels))] > 0))
    return np.array(core)


def own_favourites(rng):
    """Leaves that label other attributes most than all images together do, most often with state 1."""
    leaf, attr = rng.permutation(np.repeat([2, 5, 9], [20, 12, 10])), np.zeros((42, 3), int)
    for one, counts in ((2, [17, 6, 4]), (5, [2, 9, 5]), (9, [1, 4, 8])):
        for a, count in enumerate(counts):
            attr[rng.permutation(np.flatnonzero(leaf == one))[:count], a] = 1 if count == max(counts) else 6
    return leaf, attr


def ties_and_nothing(rng):
    """A leaf that labels two attributes equally often, on different images, and one that labels nothing."""
    leaf, attr = np.repeat([0, 3], [8, 4]), np.zeros((12, 4), int)
    first, second = np.sort(1 + rng.permutation(3)[:2])
    rows = rng.permutation(8)
    attr[rows[:3], first], attr[rows[2:5], second] = rng.integers(1, 5, 3), rng.integers(5, 9, 3)
    order = rng.permutation(12)
    return leaf[order], attr[order]


def core(leaf, attr, count=lambda labels: (labels != 0).sum(axis=0), globally=False, last=False, nothing=False):
    found = np.zeros(len(leaf), bool)
    for one in np.unique(leaf):
        members = leaf == one
        counts = count(attr if globally else attr[members])
        best = len(counts) - 1 - counts[::-1].argmax() if last else counts.argmax()
        found[members] = attr[members, best] != 0
        if nothing and not attr[members].any():
            found[members] = True
    return found


def how(**changed):
    return lambda leaf, attr: core(leaf, attr, **changed)


CORE = Task(core_by_loops, (
    Check(VISIBLE, 1, "In one leaf the attributes are labelled equally often: the first counts", calls=(
        (np.array([4, 4, 4]), np.array([[1, 0], [2, 1], [0, 3]])),)),
    Check("own favourite", 1, "Each leaf has a favourite attribute of its own; states are no numbers to add up",
          own_favourites, pure=True),
    Check("ties and nothing", 1, "Equally often: the first attribute; without any label nobody is in the core",
          ties_and_nothing)), (
    Mutant("most common attribute of all images", how(globally=True), ("own favourite",)),
    Mutant("any attribute", lambda leaf, attr: attr.any(axis=1), (VISIBLE, "own favourite", "ties and nothing")),
    Mutant("all attributes", lambda leaf, attr: attr.all(axis=1), (VISIBLE, "own favourite", "ties and nothing")),
    Mutant("states added up", how(count=lambda labels: labels.sum(axis=0)),
           (VISIBLE, "own favourite", "ties and nothing")),
    Mutant("the last of equals", how(last=True), (VISIBLE, "ties and nothing")),
    Mutant("nothing labelled: all in", how(nothing=True), ("ties and nothing",)),
    Mutant("the first attribute", lambda leaf, attr: attr[:, 0] != 0, ("own favourite", "ties and nothing")),
    Mutant("the rarest attribute", how(count=lambda labels: (labels == 0).sum(axis=0)),
           ("own favourite", "ties and nothing"))))


TASKS = {"01.1": SPLIT, "01.2": CORE}
