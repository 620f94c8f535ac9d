"""Hidden checks of coursework 12: stretched maps, and a query of a part of the picture (P2 §3.2)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 12.1: stretch(w)


def stretch_by_loops(w):
    stretched = np.zeros(w.shape, np.uint8)
    for n, one in enumerate(w):
        low, high = min(one.ravel()), max(one.ravel())
        for at in np.ndindex(one.shape):
            stretched[(n, *at)] = round(100 * (one[at] - low) / (high - low)) if high > low else 100
    return stretched


def ranges(rng):
    """Maps of very different ranges, of either sign, and one that is the same everywhere."""
    w = rng.random((5, 3, 4)) * 10.0 ** rng.integers(-2, 3, (5, 1, 1)) + rng.normal(0, 3, (5, 1, 1))
    w[rng.integers(5)] = rng.choice([0.0, 0.7])
    return (w,)


def stretched(w, axis=(1, 2), flat=100, kind=np.uint8, rounded=np.round, low=None, top=100):
    small = w.min(axis=axis, keepdims=True) if low is None else low
    high = w.max(axis=axis, keepdims=True)
    same = w.max(axis=(1, 2), keepdims=True) == w.min(axis=(1, 2), keepdims=True)
    found = rounded(top * (w - small) / np.where(high > small, high - small, 1))
    return np.where(same & np.ones(w.shape, bool), flat if flat is not None else found, found).astype(kind)


def other(**how):
    return lambda w: stretched(w, **how)


STRETCH = Task(stretch_by_loops, (
    Check(VISIBLE, 1, "0.2, 0.3 and 0.4 become 0, 50 and 100", calls=((np.array([[[0.2, 0.3], [0.4, 0.2]]]),),)),
    Check("each map", 1, "Each map by its own range, in bytes, rounded; a map that is the same everywhere is 100",
          ranges, cases=6, pure=True)), (
    Mutant("one range for all maps", other(axis=None), ("each map",)),
    Mutant("a constant map is 0", other(flat=0), ("each map",)),
    Mutant("floats", other(kind=float), ("each map", VISIBLE)),
    Mutant("cut off, not rounded", other(rounded=np.floor), (VISIBLE, "each map")),
    Mutant("from 0 instead of the smallest", other(low=0.0), (VISIBLE, "each map")),
    Mutant("up to 255", other(top=255, flat=255), (VISIBLE, "each map")),
    Mutant("each row by its own range", other(axis=2), (VISIBLE, "each map")),
    Mutant("stretches in place", lambda w: (w.__isub__(w.min((1, 2), keepdims=True)), stretch_by_loops(w))[1],
           ("each map",))))


# 12.2: region_query(maps, box)

def region_by_loops(maps, box):
    left, top, right, bottom = box
    C, h, w = maps.shape
    middles = {(i, j): ((j + 0.5) / w, (i + 0.5) / h) for i in range(h) for j in range(w)}
    inside = [at for at, (x, y) in middles.items() if left <= x <= right and top <= y <= bottom]
    if not inside:
        def far(at):
            x, y = middles[at]
            return (x - (left + right) / 2)**2 + (y - (top + bottom) / 2)**2
        inside = [min(middles, key=far)]
    total = sum(maps[:, i, j] for i, j in inside)
    return total / np.sqrt((total**2).sum())


def picture(rng, h=5, w=8):
    return rng.normal(size=(4, h, w)) + 1.0


def boxes(rng):
    """Wide and flat, so that rows and columns, and corners and sizes, are told apart."""
    left, top = rng.uniform(0.1, 0.4), rng.uniform(0.3, 0.5)
    return picture(rng), (left, top, left + rng.uniform(0.4, 0.5), top + rng.uniform(0.2, 0.4))


def on_borders(rng):
    """Borders that go through middles, exactly."""
    i, j = int(rng.integers(0, 2)), int(rng.integers(0, 3))
    return picture(rng, 4, 8), ((j + 0.5) / 8, (i + 0.5) / 4, (j + 3.5) / 8, (i + 2.5) / 4)


def tiny(rng):
    """A box between middles, nearer to one of them."""
    i, j = int(rng.integers(0, 4)), int(rng.integers(0, 7))
    x, y = (j + 0.5 + rng.uniform(0.1, 0.4)) / 8, (i + 0.5 + rng.uniform(0.1, 0.4)) / 5
    return picture(rng), (x, y, x + 0.004, y + 0.004)


def region(maps, box, swap=False, size=False, middle=0.5, touch=False, nearest=True, unit="last", best=False):
    """The right feature, and with other arguments than the defaults a wrong one."""
    left, top, right, bottom = box
    if swap:
        left, top, right, bottom = top, left, bottom, right
    if size:
        right, bottom = left + right, top + bottom
    _, h, w = maps.shape
    x, y = np.meshgrid((np.arange(w) + middle) / w, (np.arange(h) + middle) / h)
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    if touch:
        inside = (x + 0.5 / w > left) & (x - 0.5 / w < right) & (y + 0.5 / h > top) & (y - 0.5 / h < bottom)
    if not inside.any() and nearest:
        inside.flat[((x - (left + right) / 2)**2 + (y - (top + bottom) / 2)**2).argmin()] = True
    if not inside.any():
        inside[:] = True
    chosen = maps[:, inside]
    if unit == "first":
        chosen = chosen / np.linalg.norm(chosen, axis=0)
    feature = chosen.max(axis=1) if best else chosen.mean(axis=1)
    return feature / (np.linalg.norm(feature) if unit else 1)


def wrong(**how):
    return lambda maps, box: region(maps, box, **how)


def strictly(maps, box):
    left, top, right, bottom = box
    return region(maps, (left + 1e-9, top + 1e-9, right - 1e-9, bottom - 1e-9))


REGION = Task(region_by_loops, (
    Check(VISIBLE, 1, "The left half of four places", calls=(
        (np.array([[[3.0, 0.0], [3.0, 0.0]], [[4.0, 1.0], [4.0, 9.0]]]), (0, 0, 0.5, 1)),)),
    Check("which places", 1, "Places whose middle lies in the box, borders included; x runs over columns, y over rows; "
          "the mean, then unit length", (boxes, on_borders), cases=6, pure=True),
    Check("tiny boxes", 1, "A box without a middle takes the place whose middle is nearest to its own", tiny,
          cases=6)), (
    Mutant("x and y swapped", wrong(swap=True), (VISIBLE, "which places", "tiny boxes")),
    Mutant("right and bottom as sizes", wrong(size=True), ("which places", "tiny boxes")),
    Mutant("corners instead of middles", wrong(middle=0.0), (VISIBLE, "which places", "tiny boxes")),
    Mutant("places the box touches", wrong(touch=True), ("which places",)),
    Mutant("the whole picture for a tiny box", wrong(nearest=False), ("tiny boxes",)),
    Mutant("unit length first", wrong(unit="first"), ("which places",)),
    Mutant("no unit length", wrong(unit=""), (VISIBLE, "which places", "tiny boxes")),
    Mutant("the largest instead of the mean", wrong(best=True), ("which places",)),
    Mutant("borders left out", strictly, ("which places",))))


TASKS = {"12.1": STRETCH, "12.2": REGION}
