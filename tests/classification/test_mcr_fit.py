"""MCR (P1 §3.3): the fit beside scikit-learn, the choice of λ, and what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scores import problem, random_tree, tree
from sklearn.linear_model import LogisticRegression

from benchmarks.mcr import bench_mcr, synthetic_scores
from shoplens.classification import mcr
from shoplens.data.catalogue import Hierarchy


@pytest.mark.parametrize("denominator", ["layer", "literal"])
def test_excluded_weights_are_exactly_zero_and_the_others_are_stationary(small, denominator):
    model = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, k=2, denominator=denominator, dtype=np.float64,
                    tol=1e-13, max_iter=2000)
    assert model.converged
    assert not model.mask.all()
    assert np.all(model.W[~model.mask] == 0)
    np.testing.assert_array_equal(model.mask, mcr.related(small.hierarchy, model.unmasked, 2))
    value, gradient = mcr.objective(model.W, small.F, small.labels, small.sizes, 0.5, model.mask, denominator)
    assert value == pytest.approx(model.value)
    assert np.abs(gradient).max() < 1e-4


def test_layers_solved_one_by_one_equal_the_joint_minimum(small):
    model = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, k=2, dtype=np.float64, tol=1e-13, max_iter=2000)

    def joint(w):
        value, gradient = mcr.objective(w.reshape(13, 13), small.F, small.labels, small.sizes, 0.5, model.mask)
        return value, gradient.ravel()

    found = minimize(joint, np.zeros(169), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-8,
                                                                                 "maxiter": 5000})
    np.testing.assert_allclose(model.W.ravel(), found.x, atol=1e-5)


def test_unmasked_fit_equals_scikit_learn(rng):
    hierarchy = random_tree(rng, 3, 8)
    scores, labels = problem(rng, hierarchy, 400)
    model = mcr.fit(scores, labels, hierarchy, 0.8, k=None, dtype=np.float64, tol=1e-14, max_iter=2000)
    F = np.concatenate(scores, axis=1)
    for log_p, y in zip(model.refine(scores), labels, strict=True):
        judge = LogisticRegression(C=1 / (2 * 0.8), fit_intercept=False, tol=1e-8, max_iter=5000).fit(F, y)
        np.testing.assert_allclose(np.exp(log_p), judge.predict_proba(F), atol=1e-5)


def test_fit_with_bias_equals_scikit_learn_with_intercept(rng):
    hierarchy = random_tree(rng, 3, 8)
    scores, labels = problem(rng, hierarchy, 300)
    model = mcr.fit(scores, labels, hierarchy, 0.8, k=None, bias=True, dtype=np.float64, tol=1e-14, max_iter=2000)
    F = np.concatenate(scores, axis=1)
    judge = LogisticRegression(C=1 / (2 * 0.8), tol=1e-8, max_iter=5000).fit(F, labels[1])
    np.testing.assert_allclose(np.exp(model.refine(scores)[1]), judge.predict_proba(F), atol=1e-5)


def test_single_precision_reaches_the_same_probabilities(rng):
    hierarchy = random_tree(rng, 3, 8)
    scores, labels = problem(rng, hierarchy, 400)
    default = mcr.fit(scores, labels, hierarchy, 1.0).refine(scores)
    exact = mcr.fit(scores, labels, hierarchy, 1.0, dtype=np.float64, tol=1e-14, max_iter=2000).refine(scores)
    for a, b in zip(default, exact, strict=True):
        np.testing.assert_allclose(np.exp(a), np.exp(b), atol=5e-3)


def test_k_of_the_whole_layer_is_the_unmasked_fit_where_equation_4_covers_omega(small):
    """Layer j's R_c is then C¹ … C^{j+1}: Ω for the two deepest layers, for every layer only if depth=None."""
    settings = {"dtype": np.float64, "tol": 1e-13, "max_iter": 2000}
    free = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, k=None, **settings)
    one_down = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, k=7, **settings)
    all_down = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, k=7, depth=None, **settings)
    assert all_down.mask.all()
    assert one_down.mask[2:].all()
    assert one_down.mask[:2, :6].all()
    assert not one_down.mask[:2, 6:].any()
    np.testing.assert_allclose(all_down.W, free.W, atol=1e-5)
    np.testing.assert_allclose(one_down.W[2:], free.W[2:], atol=1e-5)
    assert np.abs(one_down.W[:2] - free.W[:2]).max() > 1e-2


def test_sure_roots_mend_leaf_errors(rng):
    """Leaf scores cannot tell two leaves of different roots apart, root scores can: the refinement must."""
    hierarchy = tree([0, 0, 1, 1])
    leaf = rng.integers(0, 4, 400)
    root = np.array([0, 0, 1, 1])[leaf]
    scores = [4.0 * np.eye(2)[root] - 2, 3.0 * (np.eye(2)[leaf % 2] @ np.tile(np.eye(2), 2))]
    scores[1] += 0.1 * rng.normal(size=scores[1].shape)
    before = np.mean(scores[1].argmax(axis=1) == leaf)
    log_p = mcr.fit(scores, [root, leaf], hierarchy, 0.1).refine(scores)
    assert before < 0.7
    assert np.mean(log_p[1].argmax(axis=1) == leaf) == 1


def test_the_order_of_images_and_of_classes_does_not_matter(small, rng):
    settings = {"lam": 0.5, "k": 2, "dtype": np.float64, "tol": 1e-13, "max_iter": 2000}
    model = mcr.fit(small.scores, small.labels, small.hierarchy, **settings)
    order = rng.permutation(40)
    again = mcr.fit([s[order] for s in small.scores], [y[order] for y in small.labels], small.hierarchy, **settings)
    np.testing.assert_allclose(again.W, model.W, atol=1e-5)

    new = rng.permutation(7)  # leaf c becomes leaf new[c]
    parents = [np.asarray(small.hierarchy.parent[layer]) for layer in ("layer1", "layer2")]
    renamed = tree(parents[0], parents[1][np.argsort(new)])
    scores = [*small.scores[:2], small.scores[2][:, np.argsort(new)]]
    other = mcr.fit(scores, [*small.labels[:2], new[small.labels[2]]], renamed, **settings)
    place = np.r_[np.arange(6), 6 + new]
    np.testing.assert_allclose(other.W[np.ix_(place, place)], model.W, atol=1e-5)


def test_standardised_fits_do_not_depend_on_the_scale_of_the_scores(small):
    settings = {"lam": 0.5, "k": 2, "standardise": True, "dtype": np.float64, "tol": 1e-13, "max_iter": 2000}
    model = mcr.fit(small.scores, small.labels, small.hierarchy, **settings)
    stretched = [small.scores[0] * 10, small.scores[1], small.scores[2] * np.linspace(0.1, 5, 7)]
    other = mcr.fit(stretched, small.labels, small.hierarchy, **settings)
    np.testing.assert_allclose(other.W, model.W, atol=1e-5)
    np.testing.assert_allclose(model.scale, small.F.std(axis=0))
    for a, b in zip(other.refine(stretched), model.refine(small.scores), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_standardising_a_constant_score_is_harmless(small):
    scores = [small.scores[0], np.zeros((40, 4)), small.scores[2]]
    model = mcr.fit(scores, small.labels, small.hierarchy, 0.5, standardise=True)
    assert np.isfinite(np.concatenate(model.refine(scores), axis=1)).all()


def test_scores_that_repeat_each_other_can_be_fitted_without_penalty(small):
    scores = [small.scores[0], np.repeat(small.scores[1][:, :1], 4, axis=1), small.scores[2]]
    model = mcr.fit(scores, small.labels, small.hierarchy, 0.0, k=None, max_iter=20, tol=1e-2, dtype=np.float64)
    assert np.isfinite(np.concatenate(model.refine(scores), axis=1)).all()


def test_one_layer_is_plain_multinomial_regression_of_its_own_scores(rng):
    hierarchy = Hierarchy(("leaf",), {"leaf": tuple("abcdef")}, {})
    y = rng.integers(0, 6, 200)
    scores = [rng.normal(size=(200, 6)) + 2 * np.eye(6)[y]]
    model = mcr.fit(scores, [y], hierarchy, 1.0)
    assert (model.mask.sum(axis=1) == 3).all()
    assert len(model.refine(scores)) == 1
    np.testing.assert_array_equal(mcr.fit(scores, [y], hierarchy, 1.0, k=6).mask, np.ones((6, 6), bool))


@pytest.mark.parametrize("denominator", ["layer", "literal"])
def test_refined_scores_are_those_of_equation_2(small, denominator):
    log_p = np.concatenate(mcr.refine(small.scores, small.W, small.sizes, small.mask, denominator), axis=1)
    first = np.r_[0, np.cumsum(small.sizes)]
    for i in (0, 17):
        for j, size in enumerate(small.sizes):
            for c in range(first[j], first[j] + size):
                used = small.mask[c] if denominator == "literal" else np.ones(13, bool)
                others = np.flatnonzero(small.mask[c]) if denominator == "literal" else range(first[j], first[j + 1])
                z = {t: np.sum((small.W[t] * small.F[i])[small.mask[t] & used]) for t in others}
                assert log_p[i, c] == pytest.approx(z[c] - np.log(sum(np.exp(v) for v in z.values())), abs=1e-4)
    if denominator == "layer":
        for layer in mcr.refine(small.scores, small.W, small.sizes, small.mask):
            np.testing.assert_allclose(np.exp(layer).sum(axis=1), 1, atol=1e-5)


def test_identity_weights_leave_the_cnns_softmax(small):
    for log_p, s in zip(mcr.refine(small.scores, np.eye(13), small.sizes), small.scores, strict=True):
        np.testing.assert_allclose(np.exp(log_p), np.exp(s) / np.exp(s).sum(axis=1, keepdims=True), atol=1e-6)


def test_lambda_is_judged_on_images_the_weights_were_not_fitted_to(rng):
    hierarchy = random_tree(rng, 2, 4)
    scores, labels = problem(rng, hierarchy, 120)
    judged = problem(rng, hierarchy, 90)
    seen = []

    def spy(log_p, truth):
        seen.append((len(log_p[-1]), truth))
        return mcr.leaf_accuracy(log_p, truth)

    best, values = mcr.choose_lambda(scores, labels, hierarchy, [0.1, 10.0], validation=judged, criterion=spy)
    for lam, value in values.items():
        model = mcr.fit(scores, labels, hierarchy, lam)
        assert value == pytest.approx(mcr.leaf_accuracy(model.refine(judged[0]), judged[1]), abs=0.02)
    assert best == max(values, key=values.get)
    assert all(truth is judged[1] for _, truth in seen)

    seen.clear()
    mcr.choose_lambda(scores, labels, hierarchy, [1.0], folds=3, criterion=spy)
    (judged, truth), = seen      # once, on all images, and not fold by fold: a class may miss in one
    assert judged == 120
    assert all(np.array_equal(np.bincount(mine), np.bincount(given)) for mine, given in zip(truth, labels, strict=True))


def test_the_parts_of_a_fold_are_judged_with_their_own_labels(rng):
    """Scores that name the label: refined by whatever weights, every image must meet its own label again."""
    hierarchy = random_tree(rng, 2, 4)
    _, labels = problem(rng, hierarchy, 60)
    scores = [8.0 * np.eye(size)[y] + rng.normal(size=(60, size)) for size, y in
              zip(mcr.layer_sizes(hierarchy), labels, strict=True)]
    assert mcr.choose_lambda(scores, labels, hierarchy, [1.0], folds=3)[1][1.0] == 1.0


def test_one_fold_leaves_no_image_to_judge(small):
    with pytest.raises(ValueError, match="folds must lie between 2 and"):
        mcr.choose_lambda(small.scores, small.labels, small.hierarchy, [1.0], folds=1)


def test_folds_never_judge_an_image_by_weights_fitted_to_it(rng, monkeypatch):
    hierarchy = random_tree(rng, 2, 4)
    scores, labels = problem(rng, hierarchy, 60)
    tagged, fitted, honest = [s.copy() for s in scores], [], mcr.fit
    tagged[0][:, 0] = np.arange(60) / 10

    def spy(given, *rest, **options):
        fitted.append(set(given[0][:, 0]))
        model = honest(given, *rest, **options)
        return SimpleNamespace(unmasked=model.unmasked,
                               refine=lambda s: fitted.append(set(s[0][:, 0])) or model.refine(s))

    monkeypatch.setattr(mcr, "fit", spy)
    mcr.choose_lambda(tagged, labels, hierarchy, [1.0], folds=2)
    for learned, judged in zip(fitted[:2], fitted[2:], strict=True):      # both fits, then both parts
        assert not learned & judged
        assert len(learned | judged) == 60


def test_equal_criteria_leave_the_larger_lambda(rng):
    hierarchy = random_tree(rng, 2, 4)
    scores, labels = problem(rng, hierarchy, 40)
    best, values = mcr.choose_lambda(scores, labels, hierarchy, [1.0, 100.0, 10.0], criterion=lambda *_: 0.5)
    assert best == 100.0
    assert set(values) == {1.0, 10.0, 100.0}


def test_too_few_steps_warn(small):
    with pytest.warns(RuntimeWarning, match="max_iter"):
        assert not mcr.fit(small.scores, small.labels, small.hierarchy, 0.01, max_iter=2).converged


def test_a_start_does_not_move_the_minimum(small):
    settings = {"dtype": np.float64, "tol": 1e-13, "max_iter": 2000}
    cold = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, **settings)
    far = mcr.fit(small.scores, small.labels, small.hierarchy, 50.0, **settings)
    warm = mcr.fit(small.scores, small.labels, small.hierarchy, 0.5, start=far, **settings)
    np.testing.assert_allclose(warm.W, cold.W, atol=1e-5)


def _changed(arrays, j, value):
    arrays = [a.copy() for a in arrays]
    arrays[j].flat[3] = value
    return arrays


@pytest.mark.parametrize(("change", "message"), [
    (lambda p: {"scores": _changed(p.scores, 1, np.nan)}, "1 rows of scores of layer 1 hold NaN"),
    (lambda p: {"scores": p.scores[:2]}, "scores must be 3 arrays"),
    (lambda p: {"scores": [p.scores[0][:9], *p.scores[1:]]}, "equally many rows"),
    (lambda p: {"scores": [*p.scores[:2], p.scores[2][:, :5]]}, "scores must be 3 arrays"),
    (lambda p: {"scores": [np.exp(s) / np.exp(s).sum(axis=1, keepdims=True) for s in p.scores]}, "probabilities"),
    (lambda p: {"labels": _changed(p.labels, 2, 7)}, r"layer 2 must be integers in \[0, 7\)"),
    (lambda p: {"labels": _changed(p.labels, 0, -1)}, "layer 0 must be integers"),
    (lambda p: {"labels": [y.astype(float) for y in p.labels]}, "integers"),
    (lambda p: {"labels": p.labels[:2]}, "labels must be 3 arrays of 40"),
    (lambda p: {"scores": [s[:0] for s in p.scores], "labels": [y[:0] for y in p.labels]}, "no image"),
    (lambda p: {"lam": -1.0}, "at least 0"),
    (lambda p: {"lam": float("nan")}, "at least 0"),
    (lambda p: {"k": 0}, "k must be at least 1"),
    (lambda p: {"denominator": "flat"}, "denominator must be one of"),
    (lambda p: {"denominator": "literal", "force_self": False, "k": 1}, "force_self=True"),
])
def test_errors_say_what_is_wrong(small, change, message):
    if "force_self" in change(small):  # make some category's own score the weaker one
        small.scores[2][:, [0, 1]] = small.scores[2][:, [1, 0]]
    arguments = {"scores": small.scores, "labels": small.labels, "hierarchy": small.hierarchy, "lam": 1.0}
    with pytest.raises(ValueError, match=message):
        mcr.fit(**{**arguments, **change(small)})


def test_a_mask_of_another_shape_is_refused(small):
    with pytest.raises(ValueError, match="mask must have W's shape"):
        mcr.objective(small.W, small.F, small.labels, small.sizes, 1.0, small.mask[:5])


def test_bench_reports_both_sides_on_the_same_data():
    scores, labels, hierarchy = synthetic_scores(500, (3, 8))
    assert [s.shape for s in scores] == [(500, 3), (500, 8)]
    assert np.array_equal(np.asarray(hierarchy.parent["leaf"])[labels[1]], labels[0])
    table = bench_mcr(500, (3, 8), lam=1.0)
    ours, theirs = (table[side]["objective_first_step"] for side in ("mcr", "scikit-learn"))
    assert ours == pytest.approx(theirs, rel=1e-2)
    assert all(side["seconds"] > 0 and side["peak_gib"] > 0 for side in table.values())
