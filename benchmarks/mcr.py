"""How long MCR takes at P1's size, beside scikit-learn's multinomial regression on the same scores."""

import warnings
from types import SimpleNamespace

import numpy as np

from benchmarks.measure import alone, peak_gib, timed
from shoplens.classification import mcr


def synthetic_scores(n_images: int, sizes: tuple[int, int] = (10, 129), seed: int = 0):
    """(scores, labels, hierarchy) of two CNNs that look at the same images.

    Images are points around leaf centres, which lie around root centres; leaves have a long tail. Both CNNs see an
    image through the same noise and a little of their own, and score it by the log posterior of each class, up to a
    constant per image, plus noise. So scores of related classes are correlated within a CNN and between the two,
    and so are the CNNs' errors.
    """
    rng = np.random.default_rng(seed)
    roots, leaves = sizes
    parent = np.sort(np.concatenate([np.arange(roots), rng.integers(0, roots, leaves - roots)]))
    root_centres = rng.normal(size=(roots, 64))
    leaf_centres = root_centres[parent] + 0.7 * rng.normal(size=(leaves, 64))
    share = 1 / np.arange(4, leaves + 4)
    leaf = rng.choice(leaves, n_images, p=rng.permutation(share / share.sum()))
    scores = [np.empty((n_images, size), np.float32) for size in sizes]
    for start in range(0, n_images, 16384):
        rows = slice(start, start + 16384)
        seen = leaf_centres[leaf[rows]] + 2.0 * rng.normal(size=(len(leaf[rows]), 64))
        for layer, centres in zip(scores, (root_centres, leaf_centres), strict=True):
            view = seen + 0.8 * rng.normal(size=seen.shape)
            layer[rows] = (view @ centres.T - np.sum(centres**2, axis=1) / 2) / 2.2**2
            layer[rows] += 0.5 * rng.normal(size=(len(view), len(centres)))
    hierarchy = SimpleNamespace(layers=("root", "leaf"), parent={"leaf": tuple(parent)},
                                classes={"root": range(roots), "leaf": range(leaves)})
    return scores, [parent[leaf], leaf], hierarchy


def bench_mcr(n_images: int = 600_000, sizes: tuple[int, int] = (10, 129), lam: float = 1.0,
              seed: int = 0) -> dict[str, dict[str, float]]:
    """{"mcr": …, "scikit-learn": …}: seconds, seconds_first_step, peak_gib, objective_first_step, leaf_accuracy.

    Each side runs alone in a fresh process on the same scores, so that its peak memory is its own; drawing the scores
    is not timed, but the scores count as memory. scikit-learn fits what MCR's first step fits (R_c = Ω, no intercept,
    C = 1/(2λ)), one regression per layer, in at most as many steps; it has no second step, as it cannot mask per class.
    """
    return {side: alone(function, n_images, sizes, lam, seed)
            for side, function in (("mcr", _time_mcr), ("scikit-learn", _time_scikit_learn))}


def _time_mcr(n_images, sizes, lam, seed):
    scores, labels, hierarchy = synthetic_scores(n_images, sizes, seed)
    of_first, first = timed(lambda: mcr.fit(scores, labels, hierarchy, lam, k=None))
    of_second, model = timed(lambda: mcr.fit(scores, labels, hierarchy, lam, start=first))
    return {"seconds": of_first + of_second, "seconds_first_step": of_first, "peak_gib": peak_gib(),
            "objective_first_step": first.value / n_images,
            "leaf_accuracy": mcr.leaf_accuracy(model.refine(scores), labels)}


def _time_scikit_learn(n_images, sizes, lam, seed):
    from sklearn.exceptions import ConvergenceWarning  # imported here: elsewhere MCR's memory would count it too
    from sklearn.linear_model import LogisticRegression

    scores, labels, _ = synthetic_scores(n_images, sizes, seed)
    F = mcr.stack(scores, sizes)
    scores.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether it converged shows in the objective
        spent, judges = timed(lambda: [LogisticRegression(C=1 / (2 * lam), fit_intercept=False, max_iter=200).fit(F, y)
                                       for y in labels])
    W = np.zeros((sum(sizes), sum(sizes)))
    W[np.concatenate([judges[0].classes_, sizes[0] + judges[1].classes_])] = np.concatenate([j.coef_ for j in judges])
    objective, _ = mcr.objective(W, F, labels, sizes, lam)
    return {"seconds": spent, "seconds_first_step": spent, "peak_gib": peak_gib(),
            "objective_first_step": objective / n_images}
