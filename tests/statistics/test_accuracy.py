"""ACC, MACC, intervals and paired tests against hand-computed examples, scikit-learn, torchmetrics and closed forms."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy

from shoplens.statistics import accuracy
from shoplens.statistics.bootstrap import Interval, bootstrap_accuracy


def _scored(count=400, classes=7, seed=0):
    """Imbalanced labels and scores that know frequent classes better, without ties."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, count, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    scores = rng.normal(size=(count, classes))
    scores[np.arange(count), labels] += 0.3 * labels
    return scores, labels


def test_acc_and_macc_by_hand():
    # Class 0: 3 of 4 right, class 1: 0 of 1, class 2 never occurs, class 3: 1 of 1.
    labels = np.array([0, 0, 0, 0, 1, 3])
    correct = np.array([True, True, True, False, False, True])
    assert accuracy.acc(correct) == pytest.approx(4 / 6)
    assert accuracy.per_class(correct, labels) == pytest.approx({0: 0.75, 1: 0.0, 3: 1.0})
    assert accuracy.macc(correct, labels) == pytest.approx((0.75 + 0 + 1) / 3)


def test_acc_and_macc_as_scikit_learn_and_torchmetrics_have_them():
    scores, labels = _scored()
    correct = accuracy.top_k_correct(scores, labels)
    guesses = scores.argmax(axis=1)
    assert accuracy.acc(correct) == pytest.approx(accuracy_score(labels, guesses))
    assert accuracy.macc(correct, labels) == pytest.approx(balanced_accuracy_score(labels, guesses))
    assert accuracy.acc(correct) != pytest.approx(accuracy.macc(correct, labels), abs=0.01)
    for k in (1, 3, 5):
        right = accuracy.top_k_correct(scores, labels, k)
        for average, ours in (("micro", accuracy.acc(right)), ("macro", accuracy.macc(right, labels))):
            theirs = MulticlassAccuracy(num_classes=7, top_k=k, average=average)
            assert ours == pytest.approx(float(theirs(torch.tensor(scores), torch.tensor(labels))), abs=1e-6)
        assert accuracy.acc(right) == pytest.approx(top_k_accuracy_score(labels, scores, k=k))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_top_k_with_ties_follows_the_class_index(k):
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 3, (200, 4)).astype(np.float32)     # many ties
    labels = rng.integers(0, 4, 200)
    expected = []
    for row, label in zip(scores, labels, strict=True):
        ranking = sorted(range(4), key=lambda c: (-row[c], c))
        expected.append(label in ranking[:k])
    np.testing.assert_array_equal(accuracy.top_k_correct(scores, labels, k), expected)


def test_constant_scores_earn_what_guessing_earns():
    # With >= in the place of the total order, a network that has collapsed would score 100 %.
    labels = np.repeat(np.arange(5), 10)
    for k in range(1, 6):
        assert accuracy.acc(accuracy.top_k_correct(np.zeros((50, 5)), labels, k)) == pytest.approx(k / 5)


def test_infinite_scores_rank_and_nan_is_refused():
    scores = np.array([[np.inf, 0.0, -np.inf], [-np.inf, 0.0, np.inf]])
    np.testing.assert_array_equal(accuracy.top_k_correct(scores, np.array([0, 2])), [True, True])
    scores[1, 0] = np.nan
    with pytest.raises(ValueError, match="1 rows of scores hold NaN"):
        accuracy.top_k_correct(scores, np.array([0, 2]))


@pytest.mark.parametrize(("labels", "k"), [([0, 3], 1), ([-1, 0], 1), ([0, 1], 0), ([0, 1, 2], 1)])
def test_top_k_refuses_what_makes_no_sense(labels, k):
    with pytest.raises(ValueError, match="N×C|at least 1"):
        accuracy.top_k_correct(np.zeros((2, 3)), np.array(labels), k)


def test_interval_of_acc_is_the_binomial_one():
    n, p = 900, 0.8
    correct = np.arange(n) < p * n
    interval = bootstrap_accuracy(correct, np.zeros(n, int), "acc", n_resamples=4000, seed=3)
    half = 1.959964 * math.sqrt(p * (1 - p) / n)
    assert interval.value == pytest.approx(p)
    assert interval.low == pytest.approx(p - half, abs=0.003)
    assert interval.high == pytest.approx(p + half, abs=0.003)
    narrower = bootstrap_accuracy(correct, np.zeros(n, int), "acc", n_resamples=4000, level=0.5, seed=3)
    assert narrower.high - narrower.low == pytest.approx(2 * 0.67449 * math.sqrt(p * (1 - p) / n), abs=0.003)


def test_interval_of_macc_is_that_of_a_mean_of_independent_classes():
    # 600 images at 0.9 and 150 at 0.5: the variance of the mean of the two is a quarter of the sum of the variances.
    labels = np.repeat([0, 4], [600, 150])
    correct = np.concatenate([np.arange(600) < 540, np.arange(150) < 75])
    interval = bootstrap_accuracy(correct, labels, "macc", n_resamples=4000, seed=5)
    half = 1.959964 * math.sqrt(0.9 * 0.1 / 600 + 0.5 * 0.5 / 150) / 2
    assert interval.value == pytest.approx(0.7)
    assert interval.value == pytest.approx(accuracy.macc(correct, labels))
    assert (interval.low, interval.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.005)


def test_macc_interval_keeps_every_class():
    # Classes of one image each: a resample inside classes is the sample itself, so nothing is missed and nothing moves.
    alone = bootstrap_accuracy(np.arange(10) < 5, np.arange(10), "macc", n_resamples=200)
    assert (alone.value, alone.low, alone.high) == (0.5, 0.5, 0.5)
    # One class of 1,000, one of 4 with one error: the interval is the small class's, halved; never outside [0, 1].
    labels = np.repeat([0, 1], [1000, 4])
    few = bootstrap_accuracy(np.arange(1004) < 1003, labels, "macc", n_resamples=2000)
    assert few.value == pytest.approx((1 + 0.75) / 2)
    assert (few.low, few.high) == pytest.approx(((1 + 0.25) / 2, 1.0))      # binomial(4, 0.75): 2.5 % lies at 1 of 4


@pytest.mark.parametrize("statistic", ["acc", "macc"])
def test_paired_difference(statistic):
    scores, labels = _scored()
    first = accuracy.top_k_correct(scores, labels)
    same = bootstrap_accuracy(first, labels, statistic, against=first, n_resamples=100)
    assert (same.value, same.low, same.high) == (0, 0, 0)

    second = first.copy()
    second[np.flatnonzero(~first)[:20]] = True      # right wherever the first is, and on 20 images more
    score = {"acc": lambda c: accuracy.acc(c), "macc": lambda c: accuracy.macc(c, labels)}[statistic]
    gain = bootstrap_accuracy(second, labels, statistic, against=first, n_resamples=500)
    assert gain.value == pytest.approx(score(second) - score(first))
    assert 0 < gain.low <= gain.value <= gain.high
    loss = bootstrap_accuracy(first, labels, statistic, against=second, n_resamples=500)
    assert (loss.value, loss.low, loss.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    # Pairing is what makes it narrow: the interval of one model alone is wider than that of the difference.
    alone = bootstrap_accuracy(second, labels, statistic, n_resamples=500)
    assert gain.high - gain.low < alone.high - alone.low


def test_bootstrap_is_seeded_and_refuses_an_unknown_statistic():
    scores, labels = _scored()
    correct = accuracy.top_k_correct(scores, labels)
    assert bootstrap_accuracy(correct, labels, "macc", n_resamples=50, seed=1) == bootstrap_accuracy(
        correct, labels, "macc", n_resamples=50, seed=1)
    assert bootstrap_accuracy(correct, labels, "acc", n_resamples=50, seed=1) != bootstrap_accuracy(
        correct, labels, "acc", n_resamples=50, seed=2)
    with pytest.raises(ValueError, match="'acc' or 'macc'"):
        bootstrap_accuracy(correct, labels, "map")


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (3, 1), (8, 8), (12, 4)])
def test_mcnemar_by_hand(won, lost):
    correct = np.array([True] * (won + 7) + [False] * (lost + 3))
    against = np.array([False] * won + [True] * (7 + lost) + [False] * 3)
    n, fewer = won + lost, min(won, lost)
    tail = sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n
    assert accuracy.mcnemar(correct, against) == pytest.approx(min(1.0, 2 * tail))
    assert accuracy.mcnemar(against, correct) == pytest.approx(accuracy.mcnemar(correct, against))


def test_an_interval_reads_as_one_cell_of_a_table():
    assert str(Interval(0.71249, 0.7, 0.725)) == "0.712 [0.700, 0.725]"
