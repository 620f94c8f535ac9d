"""Intervals over products crossed with seeds: against all draws there are, written-out resamples and the central limit;
power by simulation; Holm's correction against a loop."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from scipy import stats

from shoplens.statistics.bootstrap import Interval
from shoplens.statistics.estimates import Estimate, holm
from shoplens.statistics.over_products import mean_over_products

SCORES = np.array([[0.9, 0.7, 0.1, 0.4, 0.4, 0.4], [0.8, 0.9, 0.3, 0.2, 0.5, 0.6], [0.1, 0.5, 0.0, 0.9, 0.4, 0.2]])
PRODUCTS = np.array([5, 5, 2, 7, 7, 7])


def _all_draws(scores, products) -> list[float]:
    """The mean of each draw that can happen: of n seeds n - 1, of m products m - 1, in any order, both with
    replacement."""
    seeds, items = range(len(scores)), sorted(set(products))
    means = []
    for of_seed in product(seeds, repeat=max(len(scores) - 1, 1)):
        for of_product in product(items, repeat=max(len(items) - 1, 1)):
            kept = [scores[s][q] for s in of_seed for item in of_product for q in range(len(products))
                    if products[q] == item]
            means.append(sum(kept) / len(kept))
    return means


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_products_are_drawn_with_all_their_queries_and_meet_all_seeds_drawn(seeds):
    means = _all_draws(SCORES[:seeds].tolist(), PRODUCTS.tolist())
    for level in (0.94, 0.5):      # ends that fall on no edge between two draws
        interval = mean_over_products(SCORES[:seeds], PRODUCTS, n_resamples=40_000, level=level)
        ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        assert (interval.low, interval.high) == pytest.approx(tuple(ends))
    assert interval.value == pytest.approx(SCORES[:seeds].mean())
    assert interval.error == pytest.approx(np.std(means), rel=0.02)
    assert (interval.units, interval.seeds) == (3, seeds)


def test_resamples_are_those_of_a_loop():
    rng = np.random.default_rng(4)
    drawn_seeds, drawn = rng.multinomial(2, [1 / 3] * 3, 50), rng.multinomial(2, [1 / 3] * 3, 50)
    means = []
    for of_seed, of_product in zip(drawn_seeds, drawn, strict=True):
        times = dict(zip([2, 5, 7], of_product, strict=True))
        kept = Counter()
        for s in range(3):
            for q, item in enumerate(PRODUCTS):
                kept["sum"] += of_seed[s] * times[item] * SCORES[s, q]
                kept["count"] += of_seed[s] * times[item]
        means.append(kept["sum"] / kept["count"])
    ours = mean_over_products(SCORES, PRODUCTS, n_resamples=50, seed=4)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    assert ours.error == pytest.approx(np.std(means, ddof=1))


def test_the_error_of_products_alike_in_size_is_that_of_a_mean():
    """One query a product, one seed: the textbook's standard error, its denominator n - 1 included."""
    for n in (5, 400):
        values = np.random.default_rng(0).beta(2, 1, n)
        interval = mean_over_products(values, np.arange(n), n_resamples=40_000, seed=1)
        error = values.std(ddof=1) / math.sqrt(n)
        assert interval.error == pytest.approx(error, rel=0.02)
        if n == 400:
            assert (interval.low, interval.high) == pytest.approx(
                (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.05 * error)


def test_variances_of_seeds_and_products_add_up():
    """Scores that are a seed's part plus a product's: the squared error is the sum of both textbook errors squared."""
    rng = np.random.default_rng(0)
    of_seed, of_product = rng.normal(0, 0.1, 3), rng.normal(0, 0.2, 12)
    interval = mean_over_products(of_seed[:, None] + of_product, np.arange(12), n_resamples=40_000)
    assert interval.error**2 == pytest.approx(of_seed.var(ddof=1) / 3 + of_product.var(ddof=1) / 12, rel=0.03)


def test_equal_queries_of_a_product_add_nothing_that_is_known(rng):
    values = rng.random(9)
    once = mean_over_products(values, np.arange(9), n_resamples=500)
    often = mean_over_products(np.repeat(values, 8), np.repeat(np.arange(9), 8), n_resamples=500)
    assert (often.low, often.high, often.error) == pytest.approx((once.low, once.high, once.error))


def test_a_gain_is_paired_by_query_and_seed(rng):
    before, products = rng.random((2, 12)), np.repeat(np.arange(4), 3)
    gain = mean_over_products(before + 0.25, products, before, n_resamples=200)
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.25, 0.25, 0.25))
    apart = mean_over_products(before + [[0.3], [-0.1]], products, before, n_resamples=200)
    assert (apart.value, apart.low, apart.high) == pytest.approx((0.1, -0.1, 0.3))
    after = rng.random((2, 12))
    there, back = (mean_over_products(*pair, n_resamples=300) for pair in ((after, products, before),
                                                                          (before, products, after)))
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low))
    assert there == mean_over_products(after - before, products, n_resamples=300)
    assert there != mean_over_products(after, products, before, n_resamples=300, seed=1)


def test_queries_without_a_score_count_for_nothing():
    values, items = np.array([0.2, np.nan, 0.6, np.nan]), np.array([0, 0, 1, 2])
    two = mean_over_products(np.array([0.2, 0.6]), np.array([0, 1]), n_resamples=100)
    assert mean_over_products(values, items, n_resamples=100) == two
    against = np.array([[0.1, 0.1, np.nan, 0.1]])
    assert mean_over_products(values, items, against, n_resamples=100).value == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no query with a score"):
        mean_over_products(np.array([np.nan]), np.array([0]), n_resamples=10)


def test_a_single_product_or_seed_says_nothing_of_others():
    alone = mean_over_products(np.array([[0.2, 0.4]]), np.array([3, 3]), n_resamples=10)
    assert (alone.value, alone.low, alone.high, alone.error) == pytest.approx((0.3, 0.3, 0.3, 0))
    assert (alone.units, alone.seeds, alone.p_value) == (1, 1, 1.0)


# --- power and p-values -------------------------------------------------------------------------------------------


def test_the_smallest_visible_gain_is_seen_in_four_of_five_repetitions():
    """Simulated: gains of products around the visible one, a fixed error known; how often does z exceed 1.96?"""
    error = 0.05
    visible = Estimate(0, 0, 0, error, 10, 1).visible
    seen = np.abs(np.random.default_rng(0).normal(visible, error, 100_000)) > 1.959964 * error
    assert seen.mean() == pytest.approx(0.80, abs=0.005)
    assert visible == pytest.approx((1.959964 + 0.841621) * error, rel=1e-5)


def test_the_p_value_is_that_of_a_t_test_over_products(rng):
    gains = rng.normal(0.05, 0.1, 16)
    estimate = mean_over_products(gains, np.arange(16), n_resamples=100_000)
    assert estimate.p_value == pytest.approx(stats.ttest_1samp(gains, 0).pvalue, rel=0.05)
    assert Estimate(0.0, 0, 0, 0.1, 16, 1).p_value == 1
    assert Estimate(0.1, 0.1, 0.1, 0.0, 16, 1).p_value == 0


@pytest.mark.parametrize(("raw", "adjusted"), [
    ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),      # R: p.adjust(c(.01, .04, .03, .005), "holm")
    ([0.5], [0.5]), ([0.9, 0.8], [1.0, 1.0]), ([0.0, 0.2], [0.0, 0.2]), ([0.02, 0.02], [0.04, 0.04]), ([], [])])
def test_holm_by_hand(raw, adjusted):
    np.testing.assert_allclose(holm(np.array(raw)), adjusted)


def test_holm_rejects_what_its_steps_reject(rng):
    """At any level: from the smallest on, each is held against level / (number not yet rejected), until one fails."""
    for _ in range(50):
        raw = rng.random(rng.integers(1, 12)) ** 3
        adjusted, level = holm(raw), rng.random()
        rejected = set()
        for index in sorted(range(len(raw)), key=lambda i: raw[i]):     # noqa: B023
            if raw[index] >= level / (len(raw) - len(rejected)):
                break
            rejected.add(index)
        assert set(np.flatnonzero(adjusted < level)) == rejected


def test_holm_takes_only_probabilities():
    for wrong in ([0.1, 1.2], [-0.1], [np.nan]):
        with pytest.raises(ValueError, match=r"p-values lie in \[0, 1\]"):
            holm(np.array(wrong))


def test_an_estimate_prints_as_an_interval():
    assert str(Estimate(0.1, 0.05, 0.2, 0.03, 16, 3)) == str(Interval(0.1, 0.05, 0.2))
