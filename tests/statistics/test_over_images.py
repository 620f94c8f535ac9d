"""Intervals over images crossed with seeds, against all draws there are and the variance they must have."""

from itertools import product

import numpy as np
import pytest

from shoplens.statistics import accuracy
from shoplens.statistics.over_images import score_over_images

HITS = np.array([[1, 0, 1, 1, 0], [1, 1, 0, 1, 1], [0, 1, 1, 1, 0]], bool)
LABELS = np.array([2, 2, 2, 5, 5])


def all_draws(values, labels, statistic) -> list[float]:
    """The score of each draw that can happen: of n seeds n − 1, of m images of a stratum m − 1, with replacement."""
    strata = [[0, 1, 2], [3, 4]] if statistic == "macc" else [[0, 1, 2, 3, 4]]
    found = []
    for seeds in product(range(len(values)), repeat=max(len(values) - 1, 1)):
        for images in product(*(product(own, repeat=max(len(own) - 1, 1)) for own in strata)):
            found.append(np.mean([np.mean([values[s][i] for s in seeds for i in drawn]) for drawn in images]))
    return found


@pytest.mark.parametrize("statistic", ["acc", "macc"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_resamples_are_the_draws_that_can_happen(statistic, seeds):
    values = HITS[:seeds].astype(float)
    every = np.array(all_draws(values, LABELS, statistic))
    found = score_over_images(values, LABELS, statistic, n_resamples=40_000)
    average = {"acc": lambda hits, _: accuracy.acc(hits), "macc": accuracy.macc}[statistic]
    assert found.value == pytest.approx(np.mean([average(own, LABELS) for own in values]))
    assert found.error == pytest.approx(every.std(), rel=0.03)
    # The bounds lie where at most 2.5 % of all draws are outside, and any bound further in would leave more.
    for outside, on in ((every < found.low - 1e-9, every <= found.low + 1e-9),
                        (every > found.high + 1e-9, every >= found.high - 1e-9)):
        assert outside.mean() <= 0.03
        assert on.mean() >= 0.02
    assert (found.units, found.seeds) == (5, seeds)


@pytest.mark.parametrize("statistic", ["acc", "macc"])
def test_a_difference_is_paired_by_image_and_seed(statistic, rng):
    labels = rng.integers(0, 4, 300)
    other = rng.random((3, 300)) < 0.6
    own = other.copy()
    own[:, :30] = True
    paired = score_over_images(own, labels, statistic, other)
    apart = [score_over_images(hits, labels, statistic) for hits in (own, other)]
    assert paired.value == pytest.approx(apart[0].value - apart[1].value)
    assert paired.error < 0.6 * np.hypot(apart[0].error, apart[1].error)


def test_seeds_that_differ_widen_the_interval(rng):
    labels, images = np.zeros(2000, int), rng.random(2000)
    alike = np.stack([images < 0.6] * 3)
    apart = np.stack([images < share for share in (0.5, 0.6, 0.7)])
    narrow, wide = (score_over_images(hits, labels) for hits in (alike, apart))
    assert narrow.error == pytest.approx(np.sqrt(0.6 * 0.4 / 2000), rel=0.1)
    assert wide.error == pytest.approx(0.1 / np.sqrt(3), rel=0.1)     # the deviation of the seeds' mean dominates


def test_a_class_of_one_image_adds_no_spread():
    labels = np.array([0, 1, 1, 1, 1])
    sure = score_over_images(np.array([True, True, True, True, True]), labels, "macc")
    assert (sure.value, sure.low, sure.high, sure.p_value) == (1, 1, 1, pytest.approx(0, abs=1e-9))
    lonely = score_over_images(np.array([False, True, True, True, True]), labels, "macc")
    assert (lonely.value, lonely.error) == (0.5, 0)


def test_another_statistic_is_refused():
    with pytest.raises(ValueError, match="'acc' or 'macc'"):
        score_over_images(HITS, LABELS, "f1")
