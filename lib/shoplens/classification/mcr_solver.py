"""Quasi-Newton descent over the free entries of a masked weight matrix, for P1's Eq. 3."""

from collections.abc import Callable

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize


def descend(W: np.ndarray, mask: np.ndarray, loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
            share: np.ndarray, *, ridge: np.ndarray, gram: np.ndarray, n_images: int, tol: float,
            max_iter: int) -> tuple[np.ndarray, float, int, bool]:
    """Minimise loss(W) + Σ ridge·W² by L-BFGS, starting from W, over the entries inside `mask`; the others stay 0.

    W, mask: rows (categories) × columns (features). loss: W → (value, gradient), sums over images. share: each row's
    share of the labels, in [0, 1]. ridge: λ of each column. gram: FᵀF. tol: stop when a step lowers the objective per
    image by less. Returns W, the objective there, how often it was
    evaluated, and whether it settled before `max_iter` steps.

    Scores of one image are strongly correlated, so the descent runs in coordinates in which each row's Hessian,
    about share·(1 − share)·FᵀF + 2λ, is close to the identity; in W's own it would take several times as many steps.
    """
    bases, spread = [], np.maximum(share * (1 - share), 1 / n_images)
    for free, s in zip(mask, spread, strict=True):
        hessian = (s * gram + np.diag(2 * ridge))[np.ix_(free, free)] / n_images
        jitter = 1e-6 * np.trace(hessian) / len(hessian) * np.eye(len(hessian))
        lower = np.linalg.cholesky(hessian + jitter)
        bases.append(solve_triangular(lower, np.eye(len(lower)), lower=True))
    ends = np.cumsum(mask.sum(axis=1))[:-1]

    def weights(x):
        full = np.zeros(mask.shape)
        full[mask] = np.concatenate([basis.T @ v for basis, v in zip(bases, np.split(x, ends), strict=True)])
        return full

    def per_image(x):
        V = weights(x)
        value, gradient = loss(V)
        value, gradient = value + float(np.sum(ridge * V**2)), gradient + 2 * ridge * V
        slopes = [basis @ g for basis, g in zip(bases, np.split(gradient[mask], ends), strict=True)]
        return value / n_images, np.concatenate(slopes) / n_images

    x = np.concatenate([np.linalg.solve(basis.T, w) for basis, w in zip(bases, np.split(W[mask], ends), strict=True)])
    found = minimize(per_image, x, jac=True, method="L-BFGS-B",
                     options={"maxiter": max_iter, "maxcor": 20, "ftol": tol, "gtol": 1e-2 * tol**0.5})
    return weights(found.x), found.fun * n_images, found.nfev, found.nit < max_iter
