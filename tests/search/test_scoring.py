"""What is told about learned search, against loops: names, features side by side, expansion, scores, Table 4."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from earlier_runs import open_run, publish
from torch import nn

from shoplens.classification.comparison import paper_table
from shoplens.search.activations import RowFeatures
from shoplens.search.descriptors import ConcatenatedFeatures, QueryGalleryFeatures, expand, features_of
from shoplens.search.nearest import rank
from shoplens.search.protocols import SearchProtocol, SearchSplit
from shoplens.search.scoring import as_in_table4, gain_row, score, score_among, score_inside, score_rows
from shoplens.search.trained_networks import SELECTIONS, TrainedNetwork, counterpart, learned_networks, selection_name
from shoplens.search.whitening import Whitening

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
    own, told = SPLITS[split], ([], [], [])
    for place, query in enumerate(own.queries):
        looked_at = [(row, features[row]) for g, row in enumerate(own.gallery)
                     if row != query and (classes is None or classes[0][place] == classes[1][g])]
        looked_at += list(enumerate(strangers, start=len(ITEMS)))
        away = {one: ((features[query].astype(float) - other)**2).sum() for one, other in looked_at}
        found = sorted(away, key=lambda one: (away[one], one))[:k]    # noqa: B023
        hits = [one < len(ITEMS) and ITEMS[one] == ITEMS[query] for one in found]
        relevant = sum(ITEMS[row] == ITEMS[query] for row in own.gallery if row != query)
        told[0].append(sum(sum(hits[:i + 1]) / (i + 1) for i in range(len(hits)) if hits[i]) / min(k, relevant))
        told[1].append(any(hits))
        told[2].append(found + [-1] * (k - len(found)))
    return told


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("positive_rank", "ambiguous", "name"), [
    (1, 0, "closest"), (20, 0, "20th"), (20, 10, "20th+Pos10"), (1, 10, "closest+Pos10"), (5, 0, "5th"),
    (20, 3, "20th+Pos3")])
def test_selections_are_called_as_in_table_4(positive_rank, ambiguous, name):
    told = {"POSITIVE_RANK": positive_rank, "AMBIGUOUS": ambiguous, "FEATURE": "relu", "PLAIN": False, "INTERVAL": 50}
    assert selection_name(told, 50) == name
    assert selection_name(told | {"PLAIN": True}, 50) == f"{name}, plain"
    assert selection_name(told, 40) == f"{name}, mined every 50"


@pytest.mark.parametrize(("selection", "against"), [
    ("20th, mined every 7", "20th"), ("closest, plain", "closest"), ("20th+Pos10, plain", "20th+Pos10"),
    ("12th", "20th"), ("5th+Pos10", "20th+Pos10"), ("20th+Pos3", "20th+Pos10")])
def test_another_reading_is_compared_with_what_it_departs_from(selection, against):
    assert counterpart(selection, ["pre-trained", *SELECTIONS]) == against


def test_learned_networks_are_told_by_what_their_records_say(scratch_root, monkeypatch):
    """In the order of study.yml, each seed of its own; runs of other notebooks and those this data set has not are
    left out. One that mines as the fewest do says so."""
    notebooks = {"08_start": "08_netvlad", "09_b": "09_rank_based_learning", "09_absent": "09_rank_based_learning",
                 "09_a": "09_rank_based_learning", "10_toy": "10_search_analysis", "09_c": "09_rank_based_learning"}
    (scratch_root / "study.yml").write_text(yaml.safe_dump(
        {"runs": {name: {"notebook": told} for name, told in notebooks.items()}}, sort_keys=False))
    run = open_run(monkeypatch, {"08_start": ["08_start"], "09_a": ["09_a", "09_a-s3"], "09_b": ["09_b"],
                                 "09_c": ["09_c"]})
    known = {"START_FROM": "08_start", "POSITIVE_RANK": 20, "AMBIGUOUS": 10, "REPEAT": 0, "PLAIN": False,
             "INTERVAL": 50}
    publish(run, "09_a", {"seed": 0, "parameters": known | {"FEATURE": "global", "REPEAT": 1}})
    publish(run, "09_a-s3", {"seed": 3, "parameters": known | {"FEATURE": "relu", "AMBIGUOUS": 0}})
    publish(run, "09_b", {"seed": 0, "parameters": known | {"FEATURE": "norm", "POSITIVE_RANK": 1, "AMBIGUOUS": 0,
                                                            "INTERVAL": 7}})
    publish(run, "09_c", {"seed": 0, "parameters": known | {"FEATURE": "gem", "START_FROM": "08_other"}})
    assert learned_networks(run) == [
        TrainedNetwork("09_b", "08_start", "L-norm", "closest, mined every 7", 0, 0),
        TrainedNetwork("09_a", "08_start", "G", "20th+Pos10", 0, 1), TrainedNetwork("09_a-s3", "08_start", "L", "20th", 3, 0),
        TrainedNetwork("09_c", "08_other", "gem", "20th+Pos10", 0, 0)]


# --- features -----------------------------------------------------------------------------------------------------


def test_side_by_side_distances_add_up_and_the_ranking_is_that_of_plain_concatenation():
    local, whole = _features(8, 0), _features(12, 1)
    told, plain = ConcatenatedFeatures((local, whole)), np.concatenate([local, whole], axis=1)
    np.testing.assert_allclose(np.linalg.norm(told[ROWS], axis=1), 1, atol=1e-6)
    assert told[ROWS].dtype == np.float32
    for a, b in ((0, 9), (30, 2), (50, 50)):
        apart = [((f[a].astype(float) - f[b])**2).sum() for f in (local, whole)]
        both = told[np.array([a, b])]
        assert ((both[0] - both[1])**2).sum() == pytest.approx(sum(apart) / 2, abs=1e-6)
    ranking, by_concatenation = (rank(features, SPLITS["test"], ITEMS, 35) for features in (told, plain))
    np.testing.assert_array_equal(ranking[1], by_concatenation[1])
    np.testing.assert_allclose(ranking[2], by_concatenation[2] / 2, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_features_stand_side_by_side_at_unit_length(count):
    parts = tuple(_features(4 + part, part) for part in range(count))
    told = ConcatenatedFeatures(parts)[ROWS[::-3]]
    by_hand = np.stack([np.concatenate([part[row] for part in parts]) / count**0.5 for row in ROWS[::-3]])
    np.testing.assert_allclose(told, by_hand, atol=1e-6)


def test_features_of_a_split_are_addressed_by_row():
    maps = np.random.default_rng(0).normal(size=(len(ROWS), 2, 3, 3)).astype(np.float32)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(18, 5)).eval()
    split = SearchSplit(np.array([40, 7, 13]), np.array([30, 7, 2, 41]))
    told = features_of(model, maps, split)
    assert len(told.features) == 6      # nothing else is described
    for rows in (split.queries, split.gallery, np.array([13, 41, 13])):
        for row, feature in zip(rows, told[rows], strict=True):
            with torch.no_grad():
                np.testing.assert_allclose(feature, model(torch.from_numpy(maps[[row]]))[0], atol=1e-6)


@pytest.mark.parametrize("alpha", [3.0, 1.0])
def test_expansion_equals_a_loop(alpha):
    features = _features()
    queries, found = features[:4], np.stack([features[10:15], features[20:25], -features[:4].repeat(5, 0)[:5],
                                             features[30:35]])
    told = expand(queries, found, alpha)
    for q, query in enumerate(queries):
        whole = query.astype(float).copy()
        for other in found[q]:
            whole += max(0.0, float(query @ other))**alpha * other
        np.testing.assert_allclose(told[q], whole / np.sqrt((whole**2).sum()), atol=1e-6)
    assert told.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(told, axis=1), 1, atol=1e-6)


def test_expanded_by_nothing_or_by_what_points_away_a_query_stays():
    queries = _features()[:4]
    np.testing.assert_allclose(expand(queries, np.empty((4, 0, 8), np.float32)), queries, atol=1e-6)
    np.testing.assert_allclose(expand(queries, -queries[:, None]), queries, atol=1e-6)
    np.testing.assert_allclose(expand(queries, np.stack([queries] * 3, axis=1)), queries, atol=1e-6)


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
    told = score_among(features, PROTOCOL, "test", _chunks(strangers, 10), 20, whitening.apply)
    by_loop = _loop(whitening.apply(features), "test", 20, whitening.apply(strangers))
    np.testing.assert_allclose(told[0], by_loop[0], atol=1e-9)
    assert np.abs(told[0] - score_among(features, PROTOCOL, "test", _chunks(strangers, 10), 20)[0]).max() > 0.01


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


# --- rows of tables -----------------------------------------------------------------------------------------------


def test_score_rows_are_the_means_with_what_was_told():
    precision, accuracy = np.array([0.2, 0.4, 0.9]), np.array([True, False, True])
    rows = score_rows(precision, accuracy, np.array([0, 0, 1]), 20, 50, protocol="known", seed=3)
    assert [row["metric"] for row in rows] == ["MAP@20", "ACC@20"]
    assert [row["value"] for row in rows] == pytest.approx([0.5, 2 / 3])
    for row in rows:
        assert (row["protocol"], row["seed"], row["n"], row["k"]) == ("known", 3, 3, 20)
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize(("gains", "verdict"), [
    ([0.1, 0.2, 0.3], "better"), ([-0.1, -0.2, -0.3], "worse"), ([0.1, -0.2, 0.1], "inside the noise"),
    ([0.0, 0.0, 0.0], "inside the noise"), ([0.0, 0.0, 0.9], "inside the noise"), ([0.1, np.nan, 0.2], "better")])
def test_a_gain_is_one_where_its_interval_leaves_out_zero(gains, verdict):
    before = np.array([0.5, 0.3, 0.6])
    told = gain_row(before + gains, before, np.arange(3), 1000, selection="20th", against="closest")
    assert told["verdict"] == verdict
    assert told["value"] == pytest.approx(np.nanmean(gains))
    assert (told["selection"], told["against"]) == ("20th", "closest")


def test_a_gain_over_seeds_is_none_where_a_seed_disagrees():
    before = np.array([[0.5, 0.3, 0.6], [0.4, 0.4, 0.4]])
    agreed, split = before + [[0.1], [0.3]], before + [[0.3], [-0.05]]
    each = np.arange(3)
    told = gain_row(agreed, before, each, 100)
    assert (told["verdict"], told["value"]) == ("better", pytest.approx(0.2))
    assert (told["low"], told["high"]) == (pytest.approx(0.1), pytest.approx(0.3))      # every query gains the same
    told = gain_row(split, before, each, 100)
    assert (told["verdict"], told["value"]) == ("inside the noise", pytest.approx(0.125))
    assert gain_row(agreed[:1], before[:1], each, 100) == gain_row(agreed[0], before[0], each, 100)


def test_queries_of_one_product_are_one_chance():
    """Two products of twenty queries each, one gains and one loses: twenty votes for each are still two votes."""
    before, items = np.zeros(40), np.repeat([0, 1], 20)
    gains = np.where(items == 0, 0.3, -0.1)
    assert gain_row(before + gains, before, np.arange(40), 1000)["verdict"] == "better"
    told = gain_row(before + gains, before, items, 1000)
    assert (told["verdict"], told["low"], told["high"]) == ("inside the noise", pytest.approx(-0.1), pytest.approx(0.3))


# P2 Table 4 as it is printed.
PRINTED = {("global", "train"): "0.316 0.595 0.781 0.846", ("global", "val"): "0.372 0.545 0.603 0.631",
           ("local", "train"): "0.315 0.614 0.807 0.838", ("local", "val"): "0.371 0.561 0.618 0.623"}


def test_the_papers_table_4_comes_out_as_it_is_printed():
    told = as_in_table4(paper_table("p2_table4").assign(protocol="AlibabaM", seed=0))
    assert list(told) == ["protocol", "feature", "split", "pre-trained", "closest", "20th", "20th+Pos10"]
    assert len(told) == 4
    for row in told.values.tolist():
        assert row[0] == "AlibabaM"
        assert row[3:] == PRINTED[row[1], row[2]].split()


def test_table_4_has_means_and_deviations_over_seeds_and_empty_cells():
    rows = [("items", "G", "val", "20th", 0, 0.30), ("items", "G", "val", "20th", 1, 0.36),
            ("items", "G", "val", "20th", 2, 0.42), ("items", "G", "val", "closest", 0, 0.2504),
            ("unseen", "G", "val", "closest", 0, 0.5), ("unseen", "G", "val", "5th", 0, 0.7),
            ("unseen", "G", "test", "pre-trained", 0, 0.1)]
    table = pd.DataFrame(rows, columns=["protocol", "feature", "split", "selection", "seed", "value"])
    told = as_in_table4(table)
    # Selections the paper does not have come last.
    assert list(told) == ["protocol", "feature", "split", "pre-trained", "closest", "20th", "5th"]
    cells = {tuple(row[:3]): row[3:] for row in told.values.tolist()}
    assert cells == {("items", "G", "val"): ["", "0.250", "0.360 ± 0.060", ""],
                     ("unseen", "G", "val"): ["", "0.500", "", "0.700"],
                     ("unseen", "G", "test"): ["0.100", "", "", ""]}
