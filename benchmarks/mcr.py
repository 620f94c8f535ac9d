"""How long MCR takes at P1's size, beside scikit-learn's multinomial regression on the same scores."""

import multiprocessing
import re
import resource
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from shoplens.classification import mcr


def synthetic_scores(n_images: int, sizes: tuple[int, int] = (10, 129), seed: int = 0):
    """(scores, labels, hierarchy) of two CNNs that look at the same images.

    Images are points around leaf centres, which lie around root centres; leaves have a long tail. Both CNNs see an
    image through the same noise and a little of their own, and score it by the log posterior, up to a constant an
    image, of each class, plus noise. So scores of related classes are correlated within a CNN and between the two,
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
        mined_log = leaf_centres[leaf[rows]] + 2.0 * rng.normal(size=(len(leaf[rows]), 64))
        for layer, centres in zip(scores, (root_centres, leaf_centres), strict=True):
            view = mined_log + 0.8 * rng.normal(size=mined_log.shape)
            layer[rows] = (view @ centres.T - np.sum(centres**2, axis=1) / 2) / 2.2**2
            layer[rows] += 0.5 * rng.normal(size=(len(view), len(centres)))
    hierarchy = SimpleNamespace(layers=("root", "leaf"), parent={"leaf": tuple(parent)},
                                classes={"root": range(roots), "leaf": range(leaves)})
    return scores, [parent[leaf], leaf], hierarchy


def bench_mcr(n_images: int = 600_000, sizes: tuple[int, int] = (10, 129), lam: float = 1.0, seed: int = 0,
              compare: bool = True) -> dict[str, dict[str, float]]:
    """{"mcr": …, "scikit-learn": …}: seconds, seconds_first_step, peak_gib, objective_first_step, leaf_accuracy …

    Each side runs alone in a fresh process on the same scores, so that its peak memory is its own; drawing the scores
    is not timed, but the scores count as memory. scikit-learn fits what MCR's first step fits (R_c = Ω, no intercept,
    C = 1/(2λ)), one regression a layer, in at most as many steps; it has no second step, as it cannot mask per class.
    """
    sides = {"mcr": _time_mcr, "scikit-learn": _time_scikit_learn}
    table = {}
    for name in sides if compare else ["mcr"]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            table[name] = pool.apply(sides[name], (n_images, sizes, lam, seed))
    return table


def _time_mcr(n_images, sizes, lam, seed):
    scores, labels, hierarchy = synthetic_scores(n_images, sizes, seed)
    start = time.perf_counter()
    first = mcr.fit(scores, labels, hierarchy, lam, k=None)
    seconds_first = time.perf_counter() - start
    model = mcr.fit(scores, labels, hierarchy, lam, start=first)
    return {"seconds": time.perf_counter() - start, "seconds_first_step": seconds_first, "peak_gib": peak_gib(),
            "objective_first_step": first.value / n_images, "objective": model.value / n_images,
            "evaluations": first.evaluations + model.evaluations, "evaluations_first_step": first.evaluations,
            "converged": first.converged and model.converged, "leaf_accuracy_before": mcr.leaf_accuracy(scores, labels),
            "leaf_accuracy": mcr.leaf_accuracy(model.refine(scores), labels)}


def _time_scikit_learn(n_images, sizes, lam, seed):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    scores, labels, _ = synthetic_scores(n_images, sizes, seed)
    F = mcr.stack(scores, sizes)
    scores.clear()
    start, judges = time.perf_counter(), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether it settled is in the table: steps, objective
        for y in labels:
            judges.append(LogisticRegression(C=1 / (2 * lam), fit_intercept=False, max_iter=200).fit(F, y))
    seconds = time.perf_counter() - start
    W = np.zeros((sum(sizes), sum(sizes)))
    W[np.concatenate([judges[0].classes_, sizes[0] + judges[1].classes_])] = np.concatenate([j.coef_ for j in judges])
    objective, _ = mcr.objective(W, F, labels, sizes, lam)
    steps = sum(int(judge.n_iter_[0]) for judge in judges)
    return {"seconds": seconds, "seconds_first_step": seconds, "peak_gib": peak_gib(), "steps": steps,
            "objective_first_step": objective / n_images}


def peak_gib() -> float:
    """Highest resident memory of this process so far."""
    if sys.platform == "linux":  # getrusage would inherit the parent's peak
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30
