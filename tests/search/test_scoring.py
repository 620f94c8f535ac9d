"""Scores of a search against loops: as it is, among distractors, inside a class, expanded; and rows of tables."""

import numpy as np
import pytest

from shoplens.search.activations import RowFeatures
from shoplens.search.descriptors import QueryGalleryFeatures
from shoplens.search.protocols import SearchProtocol, SearchSplit
from shoplens.search.scoring import gain_row, score, score_among, score_expanded, score_inside, score_rows
from shoplens.search.whitening import Whitening
from shoplens.statistics.estimates import judged

ITEMS = np.r_[np.repeat(np.arange(6), 8), [-1, -1, -1]]     # the last three show nobody knows what
ROWS = np.arange(len(ITEMS))
PHOTOS = ROWS[ROWS % 8 < 5]
SPLITS = {"train": SearchSplit(PHOTOS[ITEMS[PHOTOS] >= 0], PHOTOS),     # these queries stand in their own gallery
          "test": SearchSplit(np.flatnonzero((ROWS % 8 >= 5) & (ITEMS >= 0))[::-1], PHOTOS)}
PROTOCOL = SearchProtocol("known", ITEMS, SPLITS)


def _unit(features: np.ndarray) -> np.ndarray:
    return (features / np.linalg.norm(features, axis=-1, keepdims=True)).astype(np.float32)


def _features(width=8, seed=0) -> np.ndarray:
    """Products lie together, not very much."""
    rng = np.random.default_rng(seed)
    return _unit(rng.normal(size=(7, width))[ITEMS] + 0.9 * rng.normal(size=(len(ITEMS), width)))


def _strangers(features, count=25, seed=1) -> np.ndarray:
    """Distractors close to queries: some are in every ranking."""
    rng = np.random.default_rng(seed)
    near = features[rng.choice(SPLITS["test"].queries, count)]
    return _unit(near + 0.2 * rng.normal(size=near.shape))


def _loop(features, split, k, strangers=(), classes=None) -> tuple[list, list, list]:
    """AP@k, ACC@k and ids of every query, image by image. strangers: features, numbered after the last row. classes:
    of queries and of gallery images, where only images of the query's are looked at."""
    own, scores = SPLITS[split], ([], [], [])
    for place, query in enumerate(own.queries):
        looked_at = [(row, features[row]) for g, row in enumerate(own.gallery)
                     if row != query and (classes is None or classes[0][place] == classes[1][g])]
        looked_at += list(enumerate(strangers, start=len(ITEMS)))
        away = {one: ((features[query].astype(float) - other)**2).sum() for one, other in looked_at}
        found = sorted(away, key=lambda one: (away[one], one))[:k]    # noqa: B023
        hits = [one < len(ITEMS) and ITEMS[one] == ITEMS[query] for one in found]
        relevant = sum(ITEMS[row] == ITEMS[query] for row in own.gallery if row != query)
        scores[0].append(sum(sum(hits[:i + 1]) / (i + 1) for i in range(len(hits)) if hits[i]) / min(k, relevant))
        scores[1].append(any(hits))
        scores[2].append(found + [-1] * (k - len(found)))
    return scores


# --- scores -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, 20, 40])
@pytest.mark.parametrize("split", list(SPLITS))
def test_a_score_equals_a_loop(split, k):
    """40 is more than the gallery holds."""
    features = _features()
    precision, accuracy, ids = score(features, PROTOCOL, split, k)
    by_loop = _loop(features, split, k)
    np.testing.assert_allclose(precision, by_loop[0], atol=1e-9)
    assert accuracy.tolist() == by_loop[1]
    assert ids.tolist() == by_loop[2]
    assert 0 < precision.mean() < 1


def _chunks(features, size):
    for start in range(0, len(features), size):
        part = features[start:start + size]
        yield len(ITEMS) + start + np.arange(len(part)), part


@pytest.mark.parametrize("size", [1, 7, 25])
@pytest.mark.parametrize("k", [1, 20, 70])
@pytest.mark.parametrize("split", list(SPLITS))
def test_among_distractors_equals_a_gallery_that_holds_them(split, k, size):
    features = _features()
    strangers = _strangers(features)
    precision, accuracy = score_among(features, PROTOCOL, split, _chunks(strangers, size), k)
    by_loop = _loop(features, split, k, strangers)
    np.testing.assert_allclose(precision, by_loop[0], atol=1e-9)
    assert accuracy.tolist() == by_loop[1]
    of_strangers = len(ITEMS) + np.arange(len(strangers))
    own = SPLITS[split]
    whole = SearchProtocol("with them", np.r_[ITEMS, -2 - np.arange(len(strangers))],
                     {split: SearchSplit(own.queries, np.r_[own.gallery, of_strangers])})
    np.testing.assert_array_equal(precision, score(np.r_[features, strangers], whole, split, k)[0])
    alone = score_among(features, PROTOCOL, split, [], k)
    np.testing.assert_array_equal(alone[0], score(features, PROTOCOL, split, k)[0])
    np.testing.assert_array_equal(alone[1], score(features, PROTOCOL, split, k)[1])
    assert precision.mean() < alone[0].mean()


def test_a_distractor_is_never_a_hit_however_near():
    features = _features()
    copies = features[SPLITS["test"].queries]
    precision, accuracy = score_among(features, PROTOCOL, "test", _chunks(copies, 5), 1)
    assert not precision.any()
    assert not accuracy.any()


def test_whitening_meets_every_feature_on_its_way():
    features = _features()
    strangers = _strangers(features)
    whitening = Whitening.fit(features, 4)
    whitened = score_among(features, PROTOCOL, "test", _chunks(strangers, 10), 20, whitening.apply)
    by_loop = _loop(whitening.apply(features), "test", 20, whitening.apply(strangers))
    np.testing.assert_allclose(whitened[0], by_loop[0], atol=1e-9)
    assert np.abs(whitened[0] - score_among(features, PROTOCOL, "test", _chunks(strangers, 10), 20)[0]).max() > 0.01


@pytest.mark.parametrize("k", [1, 5, 20])
@pytest.mark.parametrize("split", list(SPLITS))
def test_inside_a_class_equals_a_loop_that_skips_the_others(split, k):
    features, own = _features(), SPLITS[split]
    given = [ITEMS[rows] // 2 for rows in (own.queries, own.gallery)]
    random = [np.random.default_rng(0).integers(0, 4, len(rows)) for rows in (own.queries, own.gallery)]
    random[1][random[1] == 3] = 0       # nobody in the gallery is of class 3
    one = [np.zeros(len(rows), int) for rows in (own.queries, own.gallery)]
    for classes in (given, random, one):
        precision, accuracy = score_inside(features, PROTOCOL, split, *classes, k)
        by_loop = _loop(features, split, k, classes=classes)
        np.testing.assert_allclose(precision, by_loop[0], atol=1e-9)
        assert accuracy.tolist() == by_loop[1]
    np.testing.assert_array_equal(score_inside(features, PROTOCOL, split, *one, k)[0],
                                  score(features, PROTOCOL, split, k)[0])


def test_the_right_class_helps_and_a_wrong_one_costs():
    features, own = _features(), SPLITS["test"]
    right = [ITEMS[rows] // 2 for rows in (own.queries, own.gallery)]
    plain, inside = score(features, PROTOCOL, "test")[0], score_inside(features, PROTOCOL, "test", *right)[0]
    assert (inside >= plain).all()
    assert inside.mean() > plain.mean() + 0.05
    wrong = right[0].copy()
    wrong[::2] = (wrong[::2] + 1) % 3       # all that is relevant lies in another class
    partly, accuracy = score_inside(features, PROTOCOL, "test", wrong, right[1])
    assert not partly[::2].any()
    assert not accuracy[::2].any()
    np.testing.assert_array_equal(partly[1::2], inside[1::2])


def test_queries_from_one_source_and_gallery_from_another():
    whole, cut = _features(seed=0), _features(seed=2)
    own, place = SPLITS["test"], np.arange(len(ITEMS))
    features = QueryGalleryFeatures(own.queries, RowFeatures(cut, place), RowFeatures(whole, place))
    mixed = whole.copy()
    mixed[own.queries] = cut[own.queries]
    np.testing.assert_array_equal(features[own.queries[::-2]], cut[own.queries[::-2]])
    np.testing.assert_array_equal(features[own.gallery], whole[own.gallery])
    np.testing.assert_allclose(score(features, PROTOCOL, "test")[0], _loop(mixed, "test", 20)[0], atol=1e-9)
    with pytest.raises(ValueError, match="no row may be both"):
        features[np.r_[own.gallery[:3], own.queries[0]]]


def test_an_expanded_search_equals_a_loop():
    """Each query becomes the sum of itself and its first results, weighted by the cube of their similarity."""
    features, own, split = _features(), SPLITS["test"], "test"
    np.testing.assert_array_equal(score_expanded(features, PROTOCOL, split, 0), score(features, PROTOCOL, split)[0])
    grown = features.astype(float).copy()
    for query, found in zip(own.queries, _loop(features, split, 3)[2], strict=True):
        for row in found:
            grown[query] += max(0.0, float(features[query] @ features[row]))**3 * features[row]
    precision = score_expanded(features, PROTOCOL, split, 3)
    np.testing.assert_allclose(precision, score(_unit(grown), PROTOCOL, split)[0], atol=1e-9)
    assert np.abs(precision - score(features, PROTOCOL, split)[0]).max() > 0.01


# --- rows of tables -----------------------------------------------------------------------------------------------


def test_score_rows_are_the_means_with_the_columns_given():
    precision, accuracy = np.array([0.2, 0.4, 0.9]), np.array([True, False, True])
    rows = score_rows(precision, accuracy, np.array([0, 0, 1]), 20, 50, protocol="known", seed=3)
    assert [row["metric"] for row in rows] == ["MAP@20", "ACC@20"]
    assert [row["value"] for row in rows] == pytest.approx([0.5, 2 / 3])
    for row in rows:
        assert (row["protocol"], row["seed"], row["n"], row["products"], row["k"]) == ("known", 3, 3, 2, 20)
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize(("gains", "verdict"), [
    ([0.1, 0.12, 0.11], "better"), ([-0.1, -0.12, -0.11], "worse"), ([0.1, -0.2, 0.1], "inside the noise"),
    ([0.0, 0.0, 0.0], "inside the noise"), ([0.0, 0.0, 0.9], "inside the noise"), ([0.1, np.nan, 0.1], "better"),
    ([0.1, 0.2, 0.3], "inside the noise")])      # the interval leaves out 0, but of three products: t = 3.5, p = 0.07
def test_a_gain_is_one_where_its_interval_leaves_out_zero_and_p_is_small(gains, verdict):
    before = np.array([0.5, 0.3, 0.6])
    row = gain_row(before + gains, before, np.arange(3), 1000, selection="20th", against="closest")
    table = judged([row])
    assert table["verdict"].tolist() == [verdict]
    assert table["p_holm"].tolist() == [row["p_value"]]
    assert row["value"] == pytest.approx(np.nanmean(gains))
    assert (row["selection"], row["against"], row["n"], row["seeds"]) == ("20th", "closest", 3, 1)
    assert row["products"] == np.isfinite(gains).sum()


def test_verdicts_of_a_table_pay_for_its_length():
    """The same gain beside nothing, and beside nineteen comparisons of noise."""
    rng, products = np.random.default_rng(3), np.arange(20)
    before = rng.random(20)
    gain = gain_row(before + rng.normal(0.03, 0.05, 20), before, products, 500)
    noise = [gain_row(before + rng.normal(0, 0.05, 20), before, products, 500) for _ in range(19)]
    assert 0.05 / 20 < gain["p_value"] < 0.05
    assert judged([gain])["verdict"].tolist() == ["better"]
    table = judged([gain, *noise])
    assert table["verdict"][0] == "inside the noise"
    assert table["p_holm"][0] == pytest.approx(min(1, 20 * gain["p_value"]), rel=0.2)
    assert table["p_value"][0] == gain["p_value"]
    assert judged([]).empty


def test_a_gain_over_seeds_is_none_where_a_seed_disagrees():
    before = np.array([[0.5, 0.3, 0.6], [0.4, 0.4, 0.4]])
    agreed, split = before + [[0.1], [0.3]], before + [[0.3], [-0.05]]
    each = np.arange(3)
    row = gain_row(agreed, before, each, 100)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((0.2, 0.1, 0.3))    # every query gains the same
    assert judged([gain_row(split, before, each, 100)])["verdict"].tolist() == ["inside the noise"]
    assert gain_row(agreed[:1], before[:1], each, 100) == gain_row(agreed[0], before[0], each, 100)


def test_queries_of_one_product_are_one_chance():
    """Two products of twenty queries each, one gains and one loses: twenty votes for each are still two votes."""
    before, items = np.zeros(40), np.repeat([0, 1], 20)
    gains = np.where(items == 0, 0.3, -0.1)
    assert judged([gain_row(before + gains, before, np.arange(40), 1000)])["verdict"].tolist() == ["better"]
    row = gain_row(before + gains, before, items, 1000)
    assert (row["low"], row["high"]) == (pytest.approx(-0.1), pytest.approx(0.3))
    assert judged([row])["verdict"].tolist() == ["inside the noise"]
