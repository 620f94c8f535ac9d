"""Intervals over products and over seeds: against the bootstrap over queries, and against all draws there are."""

from itertools import product

import numpy as np
import pytest

from shoplens.statistics.bootstrap import Interval, bootstrap_mean, gain_over_seeds, widened


def test_with_one_query_a_product_it_is_the_bootstrap_over_queries(rng):
    values = rng.random(57)
    assert bootstrap_mean(values, np.arange(57), n_resamples=200) == bootstrap_mean(values, n_resamples=200)


def test_products_are_drawn_with_all_their_queries():
    """Three products of unequal size: the quantiles are those of all 27 draws that can happen."""
    values, items = np.array([0.9, 0.7, 0.1, 0.4, 0.4, 0.4]), np.array([5, 5, 2, 7, 7, 7])
    means = []
    for drawn in product([5, 2, 7], repeat=3):
        kept = [value for one in drawn for value, item in zip(values, items, strict=True) if item == one]
        means.append(sum(kept) / len(kept))
    for level in (0.95, 0.5):      # the outer quantiles are draws of one product alone, the inner ones are mixed
        interval = bootstrap_mean(values, items, n_resamples=20_000, level=level)
        ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        assert interval.value == pytest.approx(values.mean())
        assert (interval.low, interval.high) == pytest.approx(tuple(ends))


def test_equal_queries_of_a_product_add_nothing_that_is_known(rng):
    values = rng.random(9)
    once = bootstrap_mean(values, np.arange(9), n_resamples=500)
    often = bootstrap_mean(np.repeat(values, 8), np.repeat(np.arange(9), 8), n_resamples=500)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_queries_without_a_score_count_for_nothing():
    values, items = np.array([0.2, np.nan, 0.6, np.nan]), np.array([0, 0, 1, 2])
    two = bootstrap_mean(np.array([0.2, 0.6]), np.array([0, 1]), n_resamples=100)
    assert bootstrap_mean(values, items, n_resamples=100) == two
    with pytest.raises(ValueError, match="no query with a score"):
        bootstrap_mean(np.array([np.nan]), np.array([0]), n_resamples=10)


def test_a_gain_is_paired_by_query_and_as_wide_as_the_seeds_say(rng):
    before, items = rng.random((2, 12)), np.repeat(np.arange(4), 3)
    after = before + np.array([[0.3], [-0.1]])
    interval = gain_over_seeds(after, before, items, 200)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.1, -0.1, 0.3))
    assert widened(Interval(0.1, 0.0, 0.2), [0.05, 0.15]) == Interval(0.1, 0.0, 0.2)
