"""Searching against NumPy's brute force; whitening against covariances and scikit-learn."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from shoplens.search.nearest import (
    build_index,
    in_chunks,
    merge,
    rank,
    recall,
    search_exact,
    search_index,
    search_inside,
)
from shoplens.search.whitening import Whitening


def _vectors(queries=30, gallery=400, dimensions=16, seed=0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(count, dimensions)).astype(np.float32) for count in (queries, gallery))


def _integers(queries=30, gallery=60, dimensions=2, seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Points on a small grid: many distances are equal, and all are exact."""
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 4, (count, dimensions)).astype(np.float32) for count in (queries, gallery))


def _brute_force(queries, gallery, ids, k) -> tuple[np.ndarray, np.ndarray]:
    """All distances in float64, sorted by (distance, id)."""
    distances = np.full((len(queries), k), np.inf)
    found = np.full((len(queries), k), -1)
    for row, query in enumerate(queries.astype(float)):
        away = ((gallery - query)**2).sum(axis=1)
        for place, i in enumerate(sorted(range(len(gallery)), key=lambda i: (away[i], ids[i]))[:k]):  # noqa: B023
            distances[row, place], found[row, place] = away[i], ids[i]
    return distances, found


# --- exact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 20, 399, 65536])
def test_exact_search_equals_brute_force_whatever_the_chunks(size):
    queries, gallery = _vectors()
    ids = np.random.default_rng(1).permutation(10**12 + np.arange(400))      # wider than 32 bits, in no order
    distances, found = search_exact(queries, in_chunks(gallery, ids, size), 20)
    by_hand = _brute_force(queries, gallery, ids, 20)
    np.testing.assert_array_equal(found, by_hand[1])
    np.testing.assert_allclose(distances, by_hand[0], rtol=1e-4)
    assert (found.dtype, distances.dtype) == (np.int64, np.float32)


def test_chunks_are_all_rows_in_order_as_float32():
    gallery = np.arange(20).reshape(10, 2).astype(np.float16)
    parts = list(in_chunks(gallery, size=4))
    assert [len(ids) for ids, _ in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in parts]), np.arange(10))
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), gallery)
    assert all(part.dtype == np.float32 and part.flags.c_contiguous for _, part in parts)


@pytest.mark.parametrize("size", [13, 65536])
def test_equal_distances_rank_by_id(size):
    """As far as they lie among a chunk's nearest; k = 60 is the whole gallery."""
    queries, gallery = _integers()
    ids = np.random.default_rng(2).permutation(60)
    distances, found = search_exact(queries, in_chunks(gallery, ids, size), 60)
    by_hand = _brute_force(queries, gallery, ids, 60)
    np.testing.assert_array_equal(found, by_hand[1])
    np.testing.assert_array_equal(distances, by_hand[0])
    assert (np.diff(distances, axis=1) == 0).any()


def test_fewer_images_than_asked_for_leave_empty_places():
    queries, gallery = _vectors(gallery=3)
    for size in (1, 2, 3):
        distances, found = search_exact(queries, in_chunks(gallery, size=size), 5)
        by_hand = _brute_force(queries, gallery, np.arange(3), 5)
        np.testing.assert_array_equal(found, by_hand[1])
        assert np.isinf(distances[:, 3:]).all()
    for nothing in ([], [(np.empty(0, np.int64), gallery[:0])]):
        distances, found = search_exact(queries, nothing, 2)
        assert (found == -1).all()
        assert np.isinf(distances).all()


def test_merge_by_hand():
    distances = np.array([[3.0, 1.0, 1.0, 0.0, 2.0]])
    ids = np.array([[4, 9, 7, -1, 5]])
    nearest, found = merge(distances, ids, 5)
    assert found.tolist() == [[7, 9, 5, 4, -1]]
    assert nearest.tolist() == [[1, 1, 2, 3, np.inf]]
    assert merge(distances, ids, 2)[1].tolist() == [[7, 9]]


def test_a_ranking_leaves_the_query_itself_out():
    queries, gallery = np.array([5, 40, 2, 41]), np.arange(30)       # two of the queries stand in the gallery
    features, items = _vectors(gallery=50)[1], np.arange(50) % 4
    hits, found, distances = rank(features, SimpleNamespace(queries=queries, gallery=gallery), items, 10)
    for row, query in enumerate(queries.tolist()):
        others = gallery[gallery != query]
        by_hand = _brute_force(features[[query]], features[others], others, 10)
        np.testing.assert_array_equal(found[row], by_hand[1][0])
        np.testing.assert_allclose(distances[row], by_hand[0][0], rtol=1e-4)
        assert hits[row].tolist() == [items[other] == items[query] for other in found[row]]


def test_a_small_gallery_has_no_hits_in_its_empty_places():
    features, items = _vectors(gallery=4)[1], np.zeros(4, int)
    hits, found, _ = rank(features, SimpleNamespace(queries=np.array([0, 3]), gallery=np.array([0, 1, 2])), items, 5)
    assert hits.sum(axis=1).tolist() == [2, 3]
    assert (found >= 0).sum(axis=1).tolist() == [2, 3]
    assert sorted(found[0][:2]) == [1, 2]


# --- approximate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", ["Flat", "IVF8,Flat", "RR16,IVF8,Flat"])
def test_an_index_that_visits_everything_is_exact(factory):
    """RR16 turns all vectors, which no distance notices."""
    queries, gallery = _vectors()
    ids = 10**6 - np.arange(400)
    index = build_index(gallery, in_chunks(gallery, ids), factory)
    exact = search_exact(queries, in_chunks(gallery, ids), 20)
    distances, found = search_index(index, queries, 20, probes=8)
    np.testing.assert_array_equal(found, exact[1])
    np.testing.assert_allclose(distances, exact[0], rtol=1e-4)


@pytest.mark.parametrize("factory", ["IVF8,Flat", "RR16,IVF8,Flat"])
def test_more_probes_find_more(factory):
    queries, gallery = _vectors()
    index = build_index(gallery, in_chunks(gallery), factory)
    exact = search_exact(queries, in_chunks(gallery), 20)[1]
    shares = [recall(search_index(index, queries, 20, probes)[1], exact) for probes in (1, 3, 8)]
    assert 0.1 < shares[0] < shares[1] < shares[2] == 1


def test_an_index_that_needs_no_training_may_be_built_on_a_sample_of_one():
    queries, gallery = _vectors()
    found = search_index(build_index(gallery[:1], in_chunks(gallery, size=50), "HNSW32"), queries, 20)[1]
    assert recall(found, search_exact(queries, in_chunks(gallery), 20)[1]) > 0.95


@pytest.mark.parametrize("factory", ["Flat", "IVF8,SQ8", "IVF8,PQ4x4"])
def test_a_streamed_index_equals_one_made_at_once(factory):
    queries, gallery = _vectors()
    whole = build_index(gallery[:200], in_chunks(gallery), factory)
    streamed = build_index(gallery[:200], (part for part in in_chunks(gallery, size=37)), factory)
    assert whole.ntotal == streamed.ntotal == 400
    for ours, theirs in zip(search_index(streamed, queries), search_index(whole, queries), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_index_ranks_equal_distances_by_id_and_marks_empty_places():
    queries, gallery = _integers(gallery=30)
    ids = np.random.default_rng(2).permutation(30)
    distances, found = search_index(build_index(gallery, in_chunks(gallery, ids), "Flat"), queries, 40)
    by_hand = _brute_force(queries, gallery, ids, 40)
    np.testing.assert_array_equal(found, by_hand[1])
    np.testing.assert_array_equal(distances, by_hand[0])


@pytest.mark.parametrize("factory", ["Nonsense", "IVF8,Nonsense", "PQ3", ""])
def test_descriptions_nobody_knows_are_refused(factory):
    _, gallery = _vectors()
    with pytest.raises(ValueError, match=f"no index '{factory}' for 16 dimensions"):
        build_index(gallery, in_chunks(gallery), factory)


def test_recall_by_hand():
    exact = np.array([[1, 2, 3, 4], [5, 6, -1, -1]])
    assert recall(exact, exact) == 1
    # 2 of 4 and 1 of 2, in whatever order; an empty place is no image that could be found.
    assert recall(np.array([[4, 9, 1, 8], [-1, 6, 7, -1]]), exact) == pytest.approx((2 / 4 + 1 / 2) / 2)
    assert recall(np.array([[4, 3, 1, 8], [-1, -1, -1, -1]]), exact) == pytest.approx((3 / 4 + 0) / 2)


def test_search_inside_a_class_equals_brute_force_with_a_mask():
    queries, gallery = _vectors(queries=12, gallery=40)
    of_query = np.arange(12) % 4                            # class 3 has no image in the gallery
    of_gallery = np.where(np.arange(40) < 4, 2, np.arange(40) % 2)     # class 2 has four
    distances, found = search_inside(queries, of_query, gallery, of_gallery, 6)
    for row, one in enumerate(of_query):
        away = ((gallery.astype(float) - queries[row])**2).sum(axis=1)
        away[of_gallery != one] = np.inf
        order = np.argsort(away)[:6]
        expected = np.where(np.isinf(away[order]), -1, order)
        np.testing.assert_array_equal(found[row], expected)
        np.testing.assert_allclose(distances[row], away[order], rtol=1e-4)
    assert (found >= 0).sum(axis=1).tolist() == [6, 6, 4, 0] * 3


# --- whitening ----------------------------------------------------------------------------------------------------


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
    told = _projected(whitening, sample)
    np.testing.assert_allclose(told.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(told.T), np.eye(dimensions), atol=2e-3)
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
    told = whitening.apply(others)
    np.testing.assert_allclose(told, theirs * signs / np.linalg.norm(theirs, axis=1, keepdims=True), atol=5e-3)


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
