"""Multiclass-regression (MCR) refinement: the scores of h CNNs correct each other (P1 §3.3, Eq. 2–4).

Ω is the h layers one after the other, root-most first, n = |Ω| categories. F is N×n: the un-normalised scores of the
h CNNs side by side. W is n×n: row c is w_c, so W[c, t] is the weight of score t in refining category c. A mask is
n×n bool: row c is R_c. A bias, where wanted, is one more column of ones in F, whose weights are not penalised.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, logsumexp

from shoplens.classification.mcr_loss import chunks, layer_loss, layer_slices, literal_loss
from shoplens.classification.mcr_solver import descend

DENOMINATORS = ("layer", "literal")


def stack(scores: Sequence[np.ndarray], sizes: Sequence[int], dtype=np.float32) -> np.ndarray:
    """F, N×n, from h arrays N×|C^j|.

    Raises ValueError for shapes that do not fit `sizes`, for NaN or infinite scores, and for probabilities: P1
    refines the scores before the softmax.
    """
    shapes = [np.shape(layer) for layer in scores]
    if [shape[1:] for shape in shapes] != [(size,) for size in sizes] or len({shape[0] for shape in shapes}) != 1:
        raise ValueError(f"scores must be {len(sizes)} arrays of equally many rows and of {list(sizes)} columns, got "
                         f"shapes {shapes}")
    for j, layer in enumerate(scores):
        if bad := int((~np.isfinite(layer)).any(axis=1).sum()):
            raise ValueError(f"{bad} rows of scores of layer {j} hold NaN or infinity")
        if np.size(layer) and sizes[j] > 1 and np.min(layer) >= 0 and np.allclose(np.sum(layer, axis=1), 1, atol=1e-3):
            raise ValueError(f"scores of layer {j} are probabilities: pass the scores before the softmax")
    return np.concatenate([np.asarray(layer, dtype) for layer in scores], axis=1)


def related(hierarchy, W: np.ndarray, k: int = 3, *, force_self: bool = True, depth: int | None = 1) -> np.ndarray:
    """Mask n×n of R_c (Eq. 4): for c in layer j all shallower layers C¹ … C^{j−1} and T, the k classes of layer j
    with the largest |W[c, ·]| and their children.

    k: classes of layer j in T; capped by the layer's size; equal weights rank by class index. force_self: c is always
    one of the k. depth: layers descended from the k classes, 1 = children as the paper says, None = down to the leaves
    (differs only where h > 2). hierarchy: `layers`, `classes` and `parent` as in catalogue.Hierarchy.
    """
    sizes = layer_sizes(hierarchy)
    parts, n = layer_slices(sizes), sum(sizes)
    if k < 1 or np.shape(W)[0] != n or np.shape(W)[1] not in (n, n + 1):
        raise ValueError(f"k must be at least 1 and W {n}×{n}, got k={k} and W {np.shape(W)}")
    mask = np.zeros((n, n), bool)
    for j, own in enumerate(parts):
        strength = np.abs(W[own, own])
        if force_self:
            np.fill_diagonal(strength, np.inf)
        chosen = np.zeros_like(strength, bool)
        np.put_along_axis(chosen, np.argsort(-strength, axis=1, kind="stable")[:, :k], True, axis=1)
        mask[own, :own.start] = True
        mask[own, own] = chosen
        for below in range(j + 1, len(sizes) if depth is None else min(j + 1 + depth, len(sizes))):
            chosen = chosen[:, np.asarray(hierarchy.parent[hierarchy.layers[below]], int)]
            mask[own, parts[below]] = chosen
    return mask


def objective(W: np.ndarray, F: np.ndarray, labels: Sequence[np.ndarray], sizes: Sequence[int], lam: float,
              mask: np.ndarray | None = None, denominator: str = "layer") -> tuple[float, np.ndarray]:
    """Value and gradient of Eq. 3: −Σ over images and layers of log P(l | W, f̂) + λ‖W‖².

    denominator "layer": softmax over the classes of the label's layer. "literal": Eq. 2 as printed, over t ∈ R_c,
    with the scores outside R_c set to 0; needs c ∈ R_c. W: n×n, or n×(n+1) with bias; weights outside `mask`
    (default: R_c = Ω) count as 0 and get gradient 0. Matrix products run in F's precision, sums in float64.
    """
    mask = _full_mask(W, mask, denominator)
    W = np.where(mask, W, 0.0)
    if denominator == "literal":
        value, gradient = literal_loss(W, F, labels, sizes, mask)
    else:
        terms = [layer_loss(W[own], F, y) for own, y in zip(layer_slices(sizes), labels, strict=True)]
        value, gradient = sum(v for v, _ in terms), np.concatenate([g for _, g in terms])
    gradient[:, :len(W)] += 2 * lam * W[:, :len(W)]
    return value + lam * float(np.sum(W[:, :len(W)]**2)), gradient * mask


def refine(scores: Sequence[np.ndarray], W: np.ndarray, sizes: Sequence[int], mask: np.ndarray | None = None,
           denominator: str = "layer") -> list[np.ndarray]:
    """Refined scores log f_c (Eq. 2): h float32 arrays N×|C^j|, all ≤ 0; `np.exp` gives the probabilities.

    With "layer" they sum to 1 over a layer; with "literal" each category has its own denominator.
    """
    mask, F = _full_mask(W, mask, denominator), stack(scores, sizes)
    W = np.where(mask, W, 0.0).astype(F.dtype)
    log_p = np.empty(F.shape, F.dtype)
    done = 0
    for part in chunks(F):
        rows, done = slice(done, done + len(part)), done + len(part)
        f = _with_bias(part, W)
        if denominator == "layer":
            for own in layer_slices(sizes):
                log_p[rows, own] = log_softmax(f @ W[own].T, axis=1)
        else:
            for c, cols in enumerate(mask):
                z = f[:, cols] @ W[cols[:len(W)]][:, cols].T
                log_p[rows, c] = f @ W[c] - logsumexp(z, axis=1)
    return [log_p[:, own] for own in layer_slices(sizes)]


@dataclass(frozen=True)
class Fit:
    """A fitted refinement. W: n×n weights (n×(n+1) with bias), exactly 0 outside mask (row c = R_c). unmasked: W of
    the first step, R_c = Ω. scale: n divisors of the scores (1 unless standardised). value: Eq. 3 at W.
    evaluations: how often the objective was computed, both steps. converged: False where `max_iter` cut in.
    """

    W: np.ndarray
    mask: np.ndarray
    unmasked: np.ndarray
    sizes: tuple[int, ...]
    scale: np.ndarray
    lam: float
    denominator: str
    value: float
    evaluations: int
    converged: bool

    def refine(self, scores: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Refined log scores of other images, h arrays N×|C^j| (see `refine`)."""
        W = self.W / np.append(self.scale, 1)[:self.W.shape[1]]
        return refine(scores, W, self.sizes, self.mask, self.denominator)


def fit(scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], hierarchy, lam: float, *, k: int | None = 3,
        force_self: bool = True, depth: int | None = 1, standardise: bool = False, bias: bool = False,
        denominator: str = "layer", start: Fit | None = None, dtype=np.float32, tol: float = 1e-6,
        max_iter: int = 1000) -> Fit:
    """Solve Eq. 3 in two steps: with R_c = Ω, then with the R_c that Eq. 4 reads off the first W.

    scores: h arrays N×|C^j|, un-normalised. labels: h arrays of N class indices. lam: λ of Eq. 3, which sums
    over images: twice the images want about twice the λ. k: K of Eq. 4, None = stop after the first step (R_c = Ω).
    force_self, depth: see `related`. standardise: divide each score by its standard deviation over these images, so
    that penalty and |W| treat all alike. bias: one unpenalised constant per category (Eq. 2 has none). start: an
    earlier fit of the same options to start from. dtype: precision of the matrix products. tol: stop when a step
    lowers the objective per image by less. Warns where `max_iter` steps are not enough. Raises ValueError for scores,
    labels or λ that cannot be used.
    """
    sizes = layer_sizes(hierarchy)
    F = stack(scores, sizes, dtype)
    labels = _check_labels(labels, sizes, len(F))
    if not lam >= 0:
        raise ValueError(f"λ must be a number of at least 0, got {lam}")
    scale = np.ones(F.shape[1])
    if standardise:
        scale = np.array([column.std(dtype=float) for column in F.T])
        scale[scale == 0] = 1
        F /= scale.astype(dtype)
    W = np.eye(F.shape[1], F.shape[1] + bias) if start is None else start.unmasked
    F = _with_bias(F, W)
    gram = sum(f.T @ f for f in map(np.float64, chunks(F)))
    settings = {"F": F, "labels": labels, "sizes": sizes, "lam": lam, "denominator": denominator, "gram": gram,
                "tol": tol, "max_iter": max_iter}
    W, value, evaluations, converged = _solve(W, np.ones(W.shape, bool), **settings)
    unmasked, mask = W, np.ones(W.shape, bool)
    if k is not None:
        mask[:, :len(W)] = related(hierarchy, W, k, force_self=force_self, depth=depth)
        W, value, more, both = _solve(W, mask, **settings)
        evaluations, converged = evaluations + more, converged and both
    if not converged:
        warnings.warn(f"MCR stopped after {max_iter} steps before the objective settled within {tol}: raise max_iter "
                      f"or λ (now {lam})", RuntimeWarning, stacklevel=2)
    return Fit(W, mask, unmasked, sizes, scale, lam, denominator, value, evaluations, converged)


def leaf_accuracy(log_p: list[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """Share of images whose best refined leaf is the labelled one, in [0, 1]."""
    return float(np.mean(log_p[-1].argmax(axis=1) == labels[-1]))


def choose_lambda(scores: Sequence[np.ndarray], labels: Sequence[np.ndarray], hierarchy, grid: Iterable[float], *,
                  validation: tuple[Sequence[np.ndarray], Sequence[np.ndarray]] | None = None, folds: int = 2,
                  criterion: Callable[[list[np.ndarray], Sequence[np.ndarray]], float] = leaf_accuracy, seed: int = 0,
                  **options) -> tuple[float, dict[float, float]]:
    """The λ of `grid` with the best criterion on images that the weights were not fitted to, and all λ → criterion.

    validation: (scores, labels) to judge by, for weights fitted to training images. Without it the images given are
    the validation images themselves, cut into `folds` random parts: each is refined by weights fitted to the others,
    and all are judged together.
    criterion: (h refined log scores, h labels) → higher is better; equal ones leave the larger λ. options: as `fit`.
    Raises ValueError for fewer than two folds, or fewer images than folds.
    """
    scores, labels = [np.asarray(s) for s in scores], [np.asarray(y) for y in labels]
    everything = np.arange(len(labels[0]))
    if validation is not None:
        trials, truth = [(everything, validation[0])], validation[1]
    else:
        if not 2 <= folds <= len(everything):
            raise ValueError(f"folds must lie between 2 and the {len(everything)} images, got {folds}")
        held = np.array_split(np.random.default_rng(seed).permutation(len(everything)), folds)
        trials = [(np.setdiff1d(everything, part), [s[part] for s in scores]) for part in held]
        truth = [y[np.concatenate(held)] for y in labels]
    values, fitted = {}, [None] * len(trials)
    for lam in sorted(map(float, grid), reverse=True):
        fitted = [fit([s[rows] for s in scores], [y[rows] for y in labels], hierarchy, lam, start=start, **options)
                  for (rows, _), start in zip(trials, fitted, strict=True)]
        refined = [model.refine(judged) for model, (_, judged) in zip(fitted, trials, strict=True)]
        values[lam] = criterion([np.concatenate(layer) for layer in zip(*refined, strict=True)], truth)
    return max(values, key=values.get), values


def layer_sizes(hierarchy) -> tuple[int, ...]:
    """Classes per layer, root-most first."""
    return tuple(len(hierarchy.classes[layer]) for layer in hierarchy.layers)


def _with_bias(F: np.ndarray, W: np.ndarray) -> np.ndarray:
    return F if F.shape[1] == W.shape[1] else np.concatenate([F, np.ones((len(F), 1), F.dtype)], axis=1)


def _check_labels(labels, sizes, n_images) -> list[np.ndarray]:
    labels = [np.asarray(y) for y in labels]
    if not n_images:
        raise ValueError("there is no image to fit to")
    if [y.shape for y in labels] != [(n_images,)] * len(sizes):
        raise ValueError(f"labels must be {len(sizes)} arrays of {n_images} integers, got {[y.shape for y in labels]}")
    for j, (y, size) in enumerate(zip(labels, sizes, strict=True)):
        if not np.issubdtype(y.dtype, np.integer) or len(y) and (y.min() < 0 or y.max() >= size):
            raise ValueError(f"labels of layer {j} must be integers in [0, {size}); leave unlabelled images out")
    return labels


def _full_mask(W: np.ndarray, mask: np.ndarray | None, denominator: str) -> np.ndarray:
    """The mask in W's shape: a bias belongs to every R_c."""
    if denominator not in DENOMINATORS:
        raise ValueError(f"denominator must be one of {DENOMINATORS}, got {denominator!r}")
    if mask is None:
        return np.ones(W.shape, bool)
    if len(mask) != len(W) or mask.shape[1] not in (len(W), W.shape[1]):
        raise ValueError(f"mask must have W's shape {W.shape}, got {mask.shape}")
    full = np.ones(W.shape, bool)
    full[:, :mask.shape[1]] = mask
    if denominator == "literal" and not np.diagonal(full).all():
        raise ValueError("the literal denominator is no normaliser for a category outside its own R_c: use "
                         "force_self=True or denominator='layer'")
    return full


def _solve(W, mask, *, F, labels, sizes, lam, denominator, gram, tol, max_iter):
    """Minimise Eq. 3 from W over the weights inside `mask`: (W, value, evaluations, converged).

    The layer-wise softmax makes Eq. 3 a sum of one term per layer, each with rows of W of its own, so the layers are
    solved one after the other; the literal denominator ties all rows together.
    """
    mask = _full_mask(W, mask, denominator)
    share = np.concatenate([np.bincount(y, minlength=size) for y, size in zip(labels, sizes, strict=True)]) / len(F)
    ridge = np.where(np.arange(mask.shape[1]) < len(W), lam, 0.0)  # the bias goes free
    options = {"ridge": ridge, "gram": gram, "n_images": len(F), "tol": tol, "max_iter": max_iter}
    if denominator == "literal":
        return descend(W, mask, lambda V: literal_loss(V, F, labels, sizes, mask), share, **options)
    solved = [descend(W[own], mask[own], lambda V, y=y: layer_loss(V, F, y), share[own], **options)
              for own, y in zip(layer_slices(sizes), labels, strict=True)]
    rows, values, evaluations, converged = zip(*solved, strict=True)
    return np.concatenate(rows), sum(values), sum(evaluations), all(converged)
