"""AP@k in five conventions, ACC@k and intervals over queries: golden values, loops, scikit-learn, closed forms."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from shoplens.statistics.average_precision import CONVENTIONS, accuracy_at, average_precision


def _hits(*ranks: int, length: int = 20) -> np.ndarray:
    """One ranking with hits at these ranks, from 1."""
    return np.isin(np.arange(1, length + 1), ranks)[None]


# Worked out by hand at k = 20: hits {1, 3} have precisions 1 and 2/3, so 5/3 is what is divided; with the mean of
# the precision before and at each hit they are 1 and (1/2 + 2/3) / 2 = 7/12, so 19/12.
GOLDEN = [
    (range(1, 21), 50, {"min": 1.0, "relevant": 0.4, "found": 1.0, "k": 1.0, "trapezoid": 0.4}),
    ((1, 3), 50, {"min": 5 / 60, "relevant": 5 / 150, "found": 5 / 6, "k": 5 / 60, "trapezoid": 19 / 600}),
    ((1, 3), 5, {"min": 1 / 3, "relevant": 1 / 3, "found": 5 / 6, "k": 5 / 60, "trapezoid": 19 / 60}),
    ((1,), 200, {"min": 0.05, "relevant": 0.005, "found": 1.0, "k": 0.05, "trapezoid": 0.005}),
    (range(1, 6), 5, {"min": 1.0, "relevant": 1.0, "found": 1.0, "k": 0.25, "trapezoid": 1.0}),
    ((), 5, dict.fromkeys(CONVENTIONS, 0.0)),
    ((20,), 1, {"min": 0.05, "relevant": 0.05, "found": 0.05, "k": 0.0025, "trapezoid": 0.025}),
]


@pytest.mark.parametrize(("ranks", "relevant", "golden"), GOLDEN)
def test_the_five_conventions_by_hand(ranks, relevant, golden):
    found = {name: average_precision(_hits(*ranks), np.array([relevant]), convention=name)[0] for name in CONVENTIONS}
    assert found == pytest.approx(golden, abs=1e-12)


def test_the_golden_values_as_they_are_quoted():
    """Four digits of the same table, so that a slip in a fraction above would show."""
    quoted = {((1, 3), 50): (0.0833, 0.0333, 0.8333, 0.0833), ((1, 3), 5): (0.3333, 0.3333, 0.8333, 0.0833),
              ((1,), 200): (0.05, 0.005, 1.0, 0.05)}
    for (ranks, relevant), values in quoted.items():
        found = [average_precision(_hits(*ranks), np.array([relevant]), convention=c)[0]
                for c in ("min", "relevant", "found", "k")]
        assert found == pytest.approx(values, abs=5e-5)
    assert average_precision(_hits(1, 3), np.array([5]), convention="trapezoid")[0] == pytest.approx(0.3167, abs=5e-5)


def _loop(row, relevant: int, k: int, convention: str) -> float:
    if relevant == 0:
        return math.nan
    found, total, before = 0, 0.0, 1.0
    for rank, hit in enumerate(row[:k], 1):
        found += hit
        precision = found / rank
        if hit:
            total += (before + precision) / 2 if convention == "trapezoid" else precision
        before = precision
    divisor = {"min": min(k, relevant), "relevant": relevant, "trapezoid": relevant, "found": found, "k": k}
    return total / divisor[convention] if found else 0.0


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("k", [1, 5, 20, 60])
def test_equals_a_loop_over_random_rankings(convention, k):
    rng = np.random.default_rng(k)
    hits = rng.random((50, 40)) < rng.random((50, 1))**2
    relevant = hits.sum(axis=1) + rng.integers(0, 30, 50) * (rng.random(50) < 0.5)
    assert (relevant == 0).any()
    expected = [_loop(row, count, k, convention) for row, count in zip(hits, relevant, strict=True)]
    found = average_precision(hits, relevant, k, convention)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_scikit_learn_agrees_where_the_whole_gallery_is_ranked():
    rng = np.random.default_rng(0)
    order = np.argsort(rng.random((20, 30)), axis=1)
    hits = (rng.random((20, 30)) < 0.3)[np.arange(20)[:, None], order]
    relevant = hits.sum(axis=1)
    assert (relevant > 0).all()
    theirs = [average_precision_score(row, -np.arange(30)) for row in hits]
    np.testing.assert_allclose(average_precision(hits, relevant, 30, "relevant"), theirs)
    np.testing.assert_allclose(average_precision(hits, relevant, 30), theirs)


def test_a_query_without_anything_relevant_has_no_score():
    hits = np.concatenate([_hits(), _hits(1), _hits()])
    for convention in CONVENTIONS:
        assert np.isnan(average_precision(hits, np.array([0, 1, 2]), convention=convention)).tolist() == [
            True, False, False]


def test_what_comes_after_k_does_not_matter():
    first, second = _hits(2, 5, 21, 22, length=40), _hits(2, 5, 40, length=40)
    for convention in CONVENTIONS:
        assert average_precision(first, np.array([9]), 20, convention) == average_precision(
            second, np.array([9]), 20, convention)


@pytest.mark.parametrize(("hits", "relevant", "k", "convention", "match"), [
    (_hits(1), [1], 20, "oxford", "convention is one of"), (_hits(1)[0], [1], 20, "min", "must be Q×L"),
    (_hits(1), [1, 2], 20, "min", "must be Q×L"), (_hits(1), [1], 0, "min", "at least 1"),
    (_hits(1, 2), [1], 20, "min", "more hits in its ranking")])
def test_what_makes_no_sense_is_refused(hits, relevant, k, convention, match):
    with pytest.raises(ValueError, match=match):
        average_precision(hits, np.array(relevant), k, convention)


def test_accuracy_at_k_by_hand():
    hits = np.concatenate([_hits(1, length=30), _hits(20, length=30), _hits(21, length=30), _hits(length=30)])
    assert accuracy_at(hits).tolist() == [True, True, False, False]
    assert accuracy_at(hits, 1).tolist() == [True, False, False, False]
    assert accuracy_at(hits, 30).tolist() == [True, True, True, False]
