"""Whitening against covariances and scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from shoplens.search.whitening import Whitening


def _spread(count, width, seed=0, rank=None) -> np.ndarray:
    """Unit vectors with correlated coordinates and a mean that is not zero, along `rank` directions."""
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(rank or width, width)) * np.linspace(2, 0.5, rank or width)[:, None]
    features = rng.normal(size=(count, rank or width)) @ directions + directions[0]
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


def _projected(whitening: Whitening, features: np.ndarray) -> np.ndarray:
    """Before the last normalisation."""
    return (features.astype(np.float64) - whitening.mean) @ whitening.projection


@pytest.mark.parametrize(("count", "width", "dimensions"), [(300, 20, 20), (300, 20, 7), (40, 60, 39), (40, 60, 5)])
def test_the_whitened_sample_has_the_identity_as_its_covariance(count, width, dimensions):
    sample = _spread(count, width)
    whitening = Whitening.fit(sample, dimensions)
    projected = _projected(whitening, sample)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(projected.T), np.eye(dimensions), atol=2e-3)
    assert whitening.projection.dtype == whitening.mean.dtype == np.float32


@pytest.mark.parametrize(("count", "width"), [(300, 20), (40, 60)])
def test_scikit_learn_whitens_alike_up_to_signs(count, width):
    """More rows than columns by the covariance, fewer by the products of the rows: the same directions either way."""
    sample, others = _spread(count, width), _spread(50, width, seed=1)
    whitening = Whitening.fit(sample, 8)
    judge = PCA(8, whiten=True, svd_solver="full").fit(sample.astype(np.float64))
    theirs = judge.transform(others.astype(np.float64))
    ours = _projected(whitening, others)
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours, theirs * signs, atol=5e-3)
    whitened = whitening.apply(others)
    np.testing.assert_allclose(whitened, theirs * signs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=5e-3)


def test_the_dual_form_gives_what_the_covariance_gives():
    """Columns of zeros make a sample wide, so that its rows' products are decomposed; they change no direction."""
    sample = _spread(50, 20)
    primal = Whitening.fit(sample, 10)
    dual = Whitening.fit(np.pad(sample, [(0, 0), (0, 40)]), 10)
    assert dual.projection.shape == (60, 10)
    signs = np.sign((primal.projection * dual.projection[:20]).sum(axis=0))
    np.testing.assert_allclose(dual.projection[:20] * signs, primal.projection, atol=2e-3 * primal.projection.max())
    np.testing.assert_allclose(dual.projection[20:], 0, atol=1e-6)
    np.testing.assert_allclose(dual.mean[:20], primal.mean)


@pytest.mark.parametrize(("count", "width"), [(300, 20), (40, 60)])
def test_whitened_features_have_unit_length_and_the_strongest_directions_come_first(count, width):
    sample, others = _spread(count, width), _spread(30, width, seed=1)
    large, small = Whitening.fit(sample, 15), Whitening.fit(sample, 6)
    np.testing.assert_allclose(np.linalg.norm(large.apply(others), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(large.apply(others, 6), axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(large.apply(others, 6), small.apply(others), atol=1e-5)
    assert large.apply(others).dtype == np.float32
    # A direction is divided by the root of its variance, so the strongest has the shortest column.
    assert (np.diff(np.linalg.norm(large.projection, axis=0)) > 0).all()


def test_the_mean_itself_has_no_direction_and_stays_finite():
    whitening = Whitening.fit(_spread(100, 10), 5)
    assert np.isfinite(whitening.apply(whitening.mean[None])).all()


@pytest.mark.parametrize(("count", "width", "dimensions"), [(300, 20, 21), (20, 60, 20), (1, 5, 1)])
def test_more_directions_than_a_sample_can_give_are_refused(count, width, dimensions):
    with pytest.raises(ValueError, match="give at most .* directions"):
        Whitening.fit(_spread(count, width), dimensions)


@pytest.mark.parametrize(("count", "width"), [(300, 20), (30, 60)])
def test_directions_along_which_nothing_varies_are_refused(count, width):
    """The variances beyond the fifth are rounding: to divide by their roots would make noise of the features."""
    sample = _spread(count, width, rank=6)
    np.testing.assert_allclose(np.cov(_projected(Whitening.fit(sample, 6), sample).T), np.eye(6), atol=2e-3)
    with pytest.raises(ValueError, match="spread along 6 directions only, asked for 9"):
        Whitening.fit(sample, 9)
    with pytest.raises(ValueError, match="spread along 0 directions only"):
        Whitening.fit(np.ones((count, width), np.float32), 1)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    whitening = Whitening.fit(_spread(100, 10), 5)
    whitening.save(tmp_path / "whitening.npz")
    again = Whitening.load(tmp_path / "whitening.npz")
    np.testing.assert_array_equal(again.mean, whitening.mean)
    np.testing.assert_array_equal(again.projection, whitening.projection)
    with np.load(tmp_path / "whitening.npz", allow_pickle=False) as arrays:
        assert sorted(arrays.files) == ["mean", "projection"]


def test_fewer_directions_are_taken_where_that_is_allowed():
    """Nine points along three directions of five: three come out, the same as asked for three."""
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(9, 3)) @ rng.normal(size=(3, 5))).astype(np.float32)
    few, three = Whitening.fit(points, 8, fewer=True), Whitening.fit(points, 3)
    np.testing.assert_array_equal(few.projection, three.projection)
    assert few.projection.shape == (5, 3)
    with pytest.raises(ValueError, match="directions"):
        Whitening.fit(points, 4)
