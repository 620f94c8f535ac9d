"""Hidden checks of coursework 04: the gradient of MCR and who may speak (P1 §3.3, Eq. 2–4)."""

import numpy as np

from shoplens.coursework.checking import VISIBLE, Check, Mutant, Task

# 04.1: mcr_gradient(W, F, labels, sizes, lam, mask)

def gradient_by_loops(W, F, labels, sizes, lam, mask):
    n = len(W)
    gradient = np.zeros((n, n))
    layers, start = [], 0
    for size in sizes:
        layers.append(range(start, start + size))
        start += size
    for f, *own in zip(F, *labels, strict=True):
        for layer, label in zip(layers, own, strict=True):
            sums = [sum(W[c, t] * f[t] for t in range(n) if mask[c, t]) for c in layer]
            exponentials = [np.exp(one - max(sums)) for one in sums]
            for place, c in enumerate(layer):
                gradient[c] += (exponentials[place] / sum(exponentials) - (place == label)) * f
    for c in range(n):
        for t in range(n):
            gradient[c, t] = gradient[c, t] + 2 * lam * W[c, t] if mask[c, t] else 0.0
    return gradient


def problem(rng, sizes=(2, 3, 4), images=7, lam=None, share=0.6, scale=1.0):
    n = sum(sizes)
    mask = (rng.random((n, n)) < share) | np.eye(n, dtype=bool)
    labels = [rng.integers(0, size, images) for size in sizes]
    return (rng.normal(size=(n, n)), scale * rng.normal(size=(images, n)), labels, sizes,
            rng.uniform(0.5, 2) if lam is None else lam, mask)


def one_image_with_penalty(rng):
    return problem(rng, images=1, share=1.0)


def many_images(rng):
    return problem(rng, lam=0.0, share=1.0)


def masked(rng):
    return problem(rng)


def large_scores(rng):
    return problem(rng, scale=300.0)


def gradient(W, F, labels, sizes, lam, mask, penalty=2.0, of_masked=True, masks_it=True, joint=False, safe=True):
    """The right gradient, and with other arguments than the defaults a wrong one."""
    V = np.where(mask, W, 0.0) if of_masked else W
    p, start = np.zeros(F.shape), 0
    for size in [len(W)] if joint else sizes:
        own = slice(start, start + size)
        z = F @ V[own].T
        e = np.exp(z - z.max(axis=1, keepdims=True) * safe)
        p[:, own] = e / e.sum(axis=1, keepdims=True)
        start += size
    for first, y in zip(np.cumsum([0, *sizes[:-1]]), labels, strict=True):
        p[np.arange(len(F)), first + y] -= 1
    found = p.T @ F + penalty * lam * V
    return found * mask if masks_it else found


def wrong(**how):
    return lambda *arguments: gradient(*arguments, **how)


def mean_over_images(W, F, labels, sizes, lam, mask):
    return gradient(W, F, labels, sizes, 0.0, mask) / len(F) + 2 * lam * W * mask


def leaf_only(W, F, labels, sizes, lam, mask):
    found = gradient(W, F, labels, sizes, lam, mask)
    found[:-sizes[-1]] = (2 * lam * W * mask)[:-sizes[-1]]
    return found


TOY = (np.array([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [.5, 0, 1, 0, 0], [0, .5, 0, 1, 0], [0, .5, 0, 0, 1]]),
       np.array([[0.0, 3.0, 1.0, 0.8, -1.0]]), [np.array([1]), np.array([1])], (2, 3), 0.0, np.ones((5, 5), bool))

GRADIENT = Task(gradient_by_loops, (
    Check(VISIBLE, 1, "On one image of the toy tree it is (p − one at the label) times the scores", calls=(TOY,)),
    Check("penalty", 1, "The penalty's derivative is twice λ times the weight, added once for all images",
          one_image_with_penalty),
    Check("layers", 1, "The surprise of every layer counts, with a softmax over that layer alone, summed over images",
          many_images, pure=True),
    Check("mask", 1, "A weight outside the mask counts as 0 in the scores too, and large scores must not overflow",
          (large_scores, masked), cases=6)), (
    Mutant("λ for 2λ", wrong(penalty=1.0), ("penalty", "mask")),
    Mutant("no penalty", wrong(penalty=0.0), ("penalty", "mask")),
    Mutant("the penalty's sign", wrong(penalty=-2.0), ("penalty", "mask")),
    Mutant("mean for sum", mean_over_images, ("layers", "mask")),
    Mutant("joint softmax over all layers", wrong(joint=True), (VISIBLE, "penalty", "layers", "mask")),
    Mutant("mask on the gradient only", wrong(of_masked=False), ("mask",)),
    Mutant("mask on the weights only", wrong(masks_it=False), ("mask",)),
    Mutant("overflow", wrong(safe=False), ("mask",)),
    Mutant("the leaf's surprise alone", leaf_only, (VISIBLE, "penalty", "layers", "mask")),
    Mutant("transposed", lambda *arguments: gradient(*arguments).T, (VISIBLE, "penalty", "layers", "mask"))),
    tolerance=1e-5)


# 04.2: related(parent, sizes, W, k)

def related_by_loops(parent, sizes, W, k):
    places = [(layer, number) for layer, size in enumerate(sizes) for number in range(size)]
    at = {place: position for position, place in enumerate(places)}
    mask = np.zeros((len(places), len(places)), bool)
    for c, (layer, number) in enumerate(places):
        others = sorted((other for other in range(sizes[layer]) if other != number),
                        key=lambda other: (-abs(W[c, at[layer, other]]), other))
        chosen = {number, *others[:k - 1]}
        for t, (of, other) in enumerate(places):
            mask[c, t] = (of < layer or of == layer and other in chosen
                          or of == layer + 1 and parent[layer][other] in chosen)
    return mask


def tree(rng, sizes):
    """Parents of each layer, every category with a child, and weights that fall into few values of both signs."""
    parent = [rng.permutation(np.concatenate([np.arange(above), rng.integers(0, above, size - above)]))
              for above, size in zip(sizes, sizes[1:], strict=False)]
    n = sum(sizes)
    return parent, sizes, rng.normal(size=(n, n))


def three_layers(rng):
    return *tree(rng, (3, 5, 9)), 2


def tied(rng):
    parent, sizes, _ = tree(rng, (2, 6))
    return parent, sizes, rng.integers(-3, 4, (8, 8)) / 2, 3


def choose(parent, sizes, W, k, strength=np.abs, forced=True, extra=0, all_above=True, children=1, last=False,
           anywhere=False):
    """The right mask, and with other arguments than the defaults a wrong one."""
    start, mask = np.concatenate([[0], np.cumsum(sizes)]), np.zeros(W.shape, bool)
    for j, size in enumerate(sizes):
        own = slice(start[j], start[j + 1])
        value = strength(W[own, own]).astype(float)
        if forced:
            np.fill_diagonal(value, np.inf)
        order = np.argsort(-value[:, ::-1] if last else -value, axis=1, kind="stable")
        order = size - 1 - order if last else order
        chosen = np.zeros((size, size), bool)
        np.put_along_axis(chosen, order[:, :k + extra], True, axis=1)
        mask[own, (0 if all_above else start[max(j - 1, 0)]):start[j]] = True
        mask[own, own] = chosen
        for below in range(j + 1, min(j + 1 + children, len(sizes))):
            chosen = chosen[:, parent[below - 1]]
            mask[own, start[below]:start[below + 1]] = chosen
    return mask


def other(**how):
    return lambda *arguments: choose(*arguments, **how)


RELATED = Task(related_by_loops, (
    Check(VISIBLE, 1, "On the toy tree a leaf hears both roots and itself, a root itself and its children",
          calls=(([np.array([0, 1, 1])], (2, 3), np.eye(5), 1),)),
    Check("three layers", 1, "All layers above speak, not the next alone; below, children do, but not their children",
          three_layers, pure=True),
    Check("strength", 1, "The k largest sizes |W| of the own layer count, c always among them, equal ones by number",
          tied, cases=6)), (
    Mutant("only the layer above", other(all_above=False), ("three layers",)),
    Mutant("grandchildren too", other(children=2), ("three layers",)),
    Mutant("no children", other(children=0), (VISIBLE, "three layers", "strength")),
    Mutant("signed weights", other(strength=lambda w: w), ("three layers", "strength")),
    Mutant("c not forced into its T", other(forced=False), ("three layers", "strength")),
    Mutant("c beside the k", other(extra=1), (VISIBLE, "three layers", "strength")),
    Mutant("ties by last", other(last=True), ("strength",)),
    Mutant("columns for rows", lambda parent, sizes, W, k: choose(parent, sizes, W.T, k),
           ("three layers", "strength")),
    Mutant("k = 1 always", lambda parent, sizes, W, k: choose(parent, sizes, W, 1), ("three layers", "strength"))))


TASKS = {"04.1": GRADIENT, "04.2": RELATED}
