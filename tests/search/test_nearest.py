"""Searching against NumPy's brute force."""

from types import SimpleNamespace

import numpy as np
import pytest

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
