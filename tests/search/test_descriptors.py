"""Features side by side, queries expanded, and what a local feature weighs, against loops."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shoplens.models.netvlad import Descriptor, NetVLAD, initialise
from shoplens.search.descriptors import ConcatenatedFeatures, expand, local_weights, power_normalised
from shoplens.search.nearest import rank
from shoplens.search.protocols import SearchSplit

ITEMS = np.r_[np.repeat(np.arange(6), 8), [-1, -1, -1]]     # the last three show nobody knows what
ROWS = np.arange(len(ITEMS))
PHOTOS = ROWS[ROWS % 8 < 5]
SPLIT = SearchSplit(np.flatnonzero((ROWS % 8 >= 5) & (ITEMS >= 0))[::-1], PHOTOS)

def _unit(features: np.ndarray) -> np.ndarray:
    return (features / np.linalg.norm(features, axis=-1, keepdims=True)).astype(np.float32)

def _features(width=8, seed=0) -> np.ndarray:
    """Products lie together, not very much."""
    rng = np.random.default_rng(seed)
    return _unit(rng.normal(size=(7, width))[ITEMS] + 0.9 * rng.normal(size=(len(ITEMS), width)))

def test_side_by_side_distances_add_up_and_the_ranking_is_that_of_plain_concatenation():
    local, whole = _features(8, 0), _features(12, 1)
    together, plain = ConcatenatedFeatures((local, whole)), np.concatenate([local, whole], axis=1)
    np.testing.assert_allclose(np.linalg.norm(together[ROWS], axis=1), 1, atol=1e-6)
    assert together[ROWS].dtype == np.float32
    for a, b in ((0, 9), (30, 2), (50, 50)):
        apart = [((f[a].astype(float) - f[b])**2).sum() for f in (local, whole)]
        both = together[np.array([a, b])]
        assert ((both[0] - both[1])**2).sum() == pytest.approx(sum(apart) / 2, abs=1e-6)
    ranking, by_concatenation = (rank(features, SPLIT, ITEMS, 35) for features in (together, plain))
    np.testing.assert_array_equal(ranking[1], by_concatenation[1])
    np.testing.assert_allclose(ranking[2], by_concatenation[2] / 2, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_any_number_of_features_stand_side_by_side_at_unit_length(count):
    parts = tuple(_features(4 + part, part) for part in range(count))
    together = ConcatenatedFeatures(parts)[ROWS[::-3]]
    by_hand = np.stack([np.concatenate([part[row] for part in parts]) / count**0.5 for row in ROWS[::-3]])
    np.testing.assert_allclose(together, by_hand, atol=1e-6)


@pytest.mark.parametrize("alpha", [3.0, 1.0])
def test_expansion_equals_a_loop(alpha):
    features = _features()
    queries, found = features[:4], np.stack([features[10:15], features[20:25], -features[:4].repeat(5, 0)[:5],
                                             features[30:35]])
    expanded = expand(queries, found, alpha)
    for q, query in enumerate(queries):
        whole = query.astype(float).copy()
        for other in found[q]:
            whole += max(0.0, float(query @ other))**alpha * other
        np.testing.assert_allclose(expanded[q], whole / np.sqrt((whole**2).sum()), atol=1e-6)
    assert expanded.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(expanded, axis=1), 1, atol=1e-6)


def test_expanded_by_nothing_or_by_what_points_away_a_query_stays():
    queries = _features()[:4]
    np.testing.assert_allclose(expand(queries, np.empty((4, 0, 8), np.float32)), queries, atol=1e-6)
    np.testing.assert_allclose(expand(queries, -queries[:, None]), queries, atol=1e-6)
    np.testing.assert_allclose(expand(queries, np.stack([queries] * 3, axis=1)), queries, atol=1e-6)

def test_local_weights_are_those_of_the_head_however_many_rows():
    torch.manual_seed(0)
    sample = nn.functional.normalize(torch.rand(50, 6), dim=1).numpy()
    model = Descriptor(nn.Conv2d(4, 6, 1), NetVLAD(initialise(sample, 3), weights="relu")).eval()
    maps, rows = np.random.default_rng(0).normal(size=(90, 4, 2, 3)).astype(np.float32), np.arange(89, 9, -1)
    weights = local_weights(model, maps, rows)
    assert (weights.shape, weights.dtype) == ((80, 2, 3), np.float32)
    with torch.no_grad():
        score = model.head.local.score.weight[0]
        for place, row in ((0, 89), (70, 19)):
            at = model.block(torch.from_numpy(maps[row:row + 1]))[0]
            expected = [[max(0.0, float(score @ at[:, y, x] / at[:, y, x].norm())) for x in range(3)] for y in range(2)]
            np.testing.assert_allclose(weights[place], expected, atol=1e-5)


@pytest.mark.parametrize("power", [0.5, 0.25, 1.0])
def test_power_normalised_features_equal_a_loop(power):
    features = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    features[2] = 0
    kept = features.copy()
    by_loop = [[math.copysign(abs(float(x))**power, x) for x in row] for row in features]
    lengths = [math.sqrt(sum(x * x for x in row)) or 1 for row in by_loop]
    expected = [[x / length for x in row] for row, length in zip(by_loop, lengths, strict=True)]
    np.testing.assert_allclose(power_normalised(features, power), expected, atol=1e-6)
    np.testing.assert_array_equal(features, kept)
