"""MCR (P1 §3.3): the objective beside explicit loops over Eq. 2–3, R_c beside Eq. 4."""


import numpy as np
import pandas as pd
import pytest
from scipy.optimize import check_grad
from scores import random_tree, tree

from shoplens.classification import mcr, mcr_loss
from shoplens.data.catalogue import Hierarchy


def by_loops(W, F, labels, sizes, lam, mask, denominator):
    """Eq. 2 and 3, one number at a time: f̂_c is zero outside R_c, w_t is zero outside R_t."""
    first = np.r_[0, np.cumsum(sizes)]
    total = 0.0
    for i in range(len(F)):
        for j in range(len(sizes)):
            c = first[j] + labels[j][i]

            def weighted(t, features):
                return sum(W[t, u] * F[i, u] for u in range(len(W)) if mask[t, u] and features[u])  # noqa: B023

            if denominator == "layer":
                logits = {t: weighted(t, mask[t]) for t in range(first[j], first[j + 1])}
            else:
                logits = {t: weighted(t, mask[c]) for t in range(len(W)) if mask[c, t]}
            total -= np.log(np.exp(logits[c]) / sum(np.exp(v) for v in logits.values()))
    return total + lam * sum(W[c, u] ** 2 for c in range(len(W)) for u in range(len(W)) if mask[c, u])


@pytest.mark.parametrize("denominator", ["layer", "literal"])
@pytest.mark.parametrize("masked", [False, True])
def test_objective_equals_loops_over_equations_2_and_3(small, denominator, masked):
    mask = small.mask if masked else np.ones((13, 13), bool)
    expected = by_loops(small.W, small.F, small.labels, small.sizes, 0.3, mask, denominator)
    value, _ = mcr.objective(small.W, small.F, small.labels, small.sizes, 0.3, mask if masked else None, denominator)
    assert value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("denominator", ["layer", "literal"])
@pytest.mark.parametrize("bias", [False, True])
def test_gradient_equals_finite_differences_and_is_zero_off_the_mask(small, rng, denominator, bias):
    F = np.c_[small.F, np.ones(len(small.F))] if bias else small.F
    W = np.c_[small.W, rng.normal(size=13)] if bias else small.W

    def value(w):
        return mcr.objective(w.reshape(W.shape), F, small.labels, small.sizes, 0.7, small.mask, denominator)

    gradient = value(W.ravel())[1]
    assert check_grad(lambda w: value(w)[0], lambda w: value(w)[1].ravel(), W.ravel()) < 1e-4 * np.abs(gradient).max()
    assert np.all(gradient[:, :13][~small.mask] == 0)


def test_a_bias_is_not_penalised(small):
    F, b = np.c_[small.F, np.ones(len(small.F))], np.linspace(-1, 1, 13)[:, None]
    free, ridged = (mcr.objective(np.c_[small.W, b], F, small.labels, small.sizes, lam)[0] for lam in (0.0, 2.0))
    assert ridged - free == pytest.approx(2 * np.sum(small.W**2))


def test_chunks_and_precision_do_not_change_the_objective(small, monkeypatch):
    value, gradient = mcr.objective(small.W, small.F, small.labels, small.sizes, 0.3)
    monkeypatch.setattr(mcr_loss, "CHUNK", 7)
    pieces = mcr.objective(small.W, small.F, small.labels, small.sizes, 0.3)
    assert pieces[0] == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(pieces[1], gradient, atol=1e-10)
    single = mcr.objective(small.W, small.F.astype(np.float32), small.labels, small.sizes, 0.3)
    assert single[0] == pytest.approx(value, rel=1e-5)


def test_large_scores_do_not_overflow(small):
    for dtype in (np.float32, np.float64):
        for denominator in mcr.DENOMINATORS:
            F = (small.F * 1e4).astype(dtype)
            value, gradient = mcr.objective(small.W, F, small.labels, small.sizes, 1.0, None, denominator)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("seed", range(5))
def test_related_sizes_are_those_of_equation_4_in_two_layers(seed):
    rng = np.random.default_rng(seed)
    hierarchy = random_tree(rng, 6, 20)
    mask = mcr.related(hierarchy, rng.normal(size=(26, 26)), 3)
    assert mask[:6, :6].sum(axis=1).tolist() == [3] * 6
    assert (mask[6:].sum(axis=1) == 6 + 3).all()
    assert mask[6:, :6].all()
    assert np.diagonal(mask).all()
    parent = np.asarray(hierarchy.parent["layer1"])
    for c in range(6):
        assert set(np.flatnonzero(mask[c, 6:])) == {leaf for leaf in range(20) if mask[c, parent[leaf]]}


@pytest.mark.parametrize("depth", [1, None])
@pytest.mark.parametrize("seed", range(3))
def test_related_descends_one_layer_or_all_in_three_layers(seed, depth):
    rng = np.random.default_rng(seed)
    hierarchy = random_tree(rng, 4, 9, 21)
    mask = mcr.related(hierarchy, rng.normal(size=(34, 34)), 2, depth=depth)
    middle, leaf = np.asarray(hierarchy.parent["layer1"]), np.asarray(hierarchy.parent["layer2"])
    for c in range(4):
        assert mask[c].sum() == 2 + mask[c, middle].sum() + (0 if depth else mask[c, middle[leaf]].sum())
        assert mask[c, 13:].any() == (depth is None)
    for c in range(4, 13):
        assert mask[c, :4].all()
        assert mask[c].sum() == 4 + 2 + mask[c, 4 + leaf].sum()
    assert (mask[13:].sum(axis=1) == 4 + 9 + 2).all()


def test_related_takes_the_largest_weights_by_absolute_value_and_c_itself():
    hierarchy = tree([0, 0, 1, 1])
    W = np.zeros((6, 6))
    W[2, 2:] = [0.1, -5.0, 2.0, 3.0]
    W[2, 0] = 99  # another layer's weight must not count
    assert np.flatnonzero(mcr.related(hierarchy, W, 2)[2]).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(mcr.related(hierarchy, W, 2, force_self=False)[2]).tolist() == [0, 1, 3, 5]
    assert np.flatnonzero(mcr.related(hierarchy, W, 9)[2]).tolist() == list(range(6))


def test_related_reads_a_catalogues_hierarchy():
    table = pd.DataFrame({"image_id": list("abc"), "root": ["shoe", "shoe", "coat"], "leaf": ["boot", "pump", "parka"]})
    mask = mcr.related(Hierarchy.from_table(table, ["root", "leaf"]), np.eye(5), 1)
    # Classes are sorted: coat, shoe; boot, parka, pump.
    assert mask.astype(int).tolist() == [[1, 0, 0, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0],
                                         [1, 1, 0, 0, 1]]
