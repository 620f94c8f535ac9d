"""Logit adjustment against loops, and against every rule there is in small worlds whose probabilities are known."""

import itertools
import math

import numpy as np
import pytest

from shoplens.classification import logit_adjustment


def test_adjustment_equals_loops(rng):
    scores, counts, tau = rng.normal(size=(6, 4)), [50, 7, 1, 200], 0.7
    adjusted = logit_adjustment.logit_adjust(scores, counts, tau)
    for n in range(6):
        for c in range(4):
            assert adjusted[n, c] == pytest.approx(scores[n, c] - tau * math.log(counts[c] / 258))


def test_nothing_to_adjust(rng):
    scores = rng.normal(size=(5, 3))
    np.testing.assert_array_equal(logit_adjustment.logit_adjust(scores, np.array([9, 3, 1]), 0), scores)
    level = logit_adjustment.logit_adjust(scores, np.array([4, 4, 4]), 2.0) - scores        # equally common: a constant
    np.testing.assert_allclose(level, 2 * math.log(3))


def test_an_untrained_class_is_helped_no_more_than_the_most_common():
    scores, counts = np.zeros((1, 3)), np.array([0, 8, 2])
    adjusted = logit_adjustment.logit_adjust(scores, counts, 1.0)[0]
    assert adjusted[0] == adjusted[1] < adjusted[2]
    assert adjusted[2] - adjusted[1] == pytest.approx(np.log(8 / 2))


def _acc(rule, world):
    return sum(world[x, c] for x, c in enumerate(rule)) / world.sum()


def _macc(rule, world):
    right = [sum(world[x, c] for x in range(len(rule)) if rule[x] == c) for c in range(world.shape[1])]
    return sum(r / n for r, n in zip(right, world.sum(axis=0), strict=True)) / world.shape[1]


@pytest.mark.parametrize("classes", [2, 3])
def test_bayes_posterior_is_best_for_acc_and_adjusted_for_macc(rng, classes):
    """Worlds of three pictures: world[x, c] images show picture x and are of class c. Every rule is tried."""
    differ = 0
    for _ in range(60):
        world = rng.integers(1, 40, (3, classes)) * np.array([12, 3, 1])[:classes]
        posterior = np.log(world / world.sum(axis=1, keepdims=True))
        rules = list(itertools.product(range(classes), repeat=3))
        for tau, score in ((0, _acc), (1, _macc)):
            chosen = logit_adjustment.logit_adjust(posterior, world.sum(axis=0), tau).argmax(axis=1)
            assert score(chosen, world) == pytest.approx(max(score(rule, world) for rule in rules))
        plain = posterior.argmax(axis=1)
        differ += _macc(plain, world) < _macc(chosen, world) - 1e-9
    assert differ > 30


def test_constants_of_an_image_do_not_matter(rng):
    scores, counts = rng.normal(size=(30, 4)), np.array([100, 30, 5, 1])
    shifted = scores + rng.normal(size=(30, 1))
    np.testing.assert_array_equal(logit_adjustment.logit_adjust(scores, counts, 1).argmax(axis=1),
                                  logit_adjustment.logit_adjust(shifted, counts, 1).argmax(axis=1))


def _balanced(scores, labels):
    of_class = [[row.argmax() == c for row, y in zip(scores, labels, strict=True) if y == c] for c in set(labels)]
    return sum(sum(hits) / len(hits) for hits in of_class) / len(of_class)


def test_the_chosen_tau_is_the_best_by_loop(rng):
    counts = np.array([300, 60, 10])
    labels = rng.choice(3, 200, p=counts / counts.sum())
    scores = rng.normal(size=(200, 3)) + 1.5 * np.eye(3)[labels] + np.log(counts)
    grid = (1.5, 0.0, 0.5, 1.0)
    tau, found = logit_adjustment.choose_tau(scores, labels, counts, grid)
    assert set(found) == set(grid)
    for t in grid:
        adjusted = np.array([[scores[n, c] - t * math.log(counts[c] / 370) for c in range(3)] for n in range(200)])
        assert found[t] == pytest.approx(_balanced(adjusted, labels))
    assert found[tau] == max(found.values())
    assert tau > 0      # the tail is worth it here


def test_equal_taus_leave_the_smaller():
    scores, labels = 100 * np.eye(3), np.arange(3)
    tau, found = logit_adjustment.choose_tau(scores, labels, np.array([5, 3, 1]), iter([2, 0.5, 1]))
    assert tau == 0.5
    assert found == {0.5: 1.0, 1.0: 1.0, 2.0: 1.0}
