"""The rules by which a network counts as trained, on curves made by hand and on one of the first build."""

import pandas as pd
import pytest

from shoplens.classification.trained import baseline_doubts, plateau_doubts, upper_layer_doubts

IMAGES = 400        # a standard error of 0.025 at one half


def curve(scores, rates) -> pd.DataFrame:
    """What `training.fit` returns of these validation scores and rates."""
    best = scores.index(max(scores))
    return pd.DataFrame({"epoch": range(1, len(scores) + 1), "macc": scores, "learning_rate": rates,
                         "best": [epoch == best for epoch in range(len(scores))]})


FALLING = [0.1] * 6 + [0.01] * 4
FLAT = [0.2, 0.3, 0.4, 0.42, 0.44, 0.45, 0.49, 0.50, 0.50, 0.495]


def test_a_flat_end_after_the_rate_has_fallen_is_a_plateau():
    assert plateau_doubts(curve(FLAT, FALLING), "macc", IMAGES) == []


def test_the_first_builds_curve_on_grocery_is_refused():
    """Kept in epoch 6 of 14, before the rate ever dropped, and no better afterwards (validation .58, loss .14)."""
    scores = [0.31, 0.44, 0.50, 0.53, 0.56, 0.58, 0.57, 0.57, 0.56, 0.57, 0.575, 0.57, 0.575, 0.57]
    doubts = plateau_doubts(curve(scores, [1e-4] * 9 + [1e-5] * 3 + [1e-6] * 2), "macc", 296)
    assert doubts == ["the kept epoch, 6 of 14, still had 0.0001 of a rate that reached 0.0001"]


def test_a_curve_that_was_cut_is_refused():
    scores = [0.1, 0.15, 0.2, 0.25, 0.3, 0.34, 0.38, 0.42, 0.46, 0.50]
    assert plateau_doubts(curve(scores, FALLING), "macc", IMAGES) == [
        "validation macc still rose at the end, from 0.400 to 0.480 (one standard error is 0.025)"]
    assert plateau_doubts(curve(scores, FALLING), "macc", 20) == []     # of few images such a rise may be chance


def test_a_peak_that_training_left_is_refused():
    scores = [0.2, 0.3, 0.4, 0.42, 0.44, 0.45, 0.50, 0.46, 0.44, 0.42]
    assert plateau_doubts(curve(scores, FALLING), "macc", IMAGES) == [
        "validation macc fell from 0.500 in epoch 7 to 0.430 at the end (two standard errors are 0.050)"]


def test_too_few_epochs_show_nothing():
    assert plateau_doubts(curve([0.5, 0.5, 0.5], [0.1] * 3), "macc", IMAGES) == [
        "3 epochs are too few to see a plateau"]


@pytest.mark.parametrize(("own", "doubted"), [({"ACC": 0.8, "MACC": 0.7}, []), ({"ACC": 0.8, "MACC": 0.6}, ["MACC"]),
                                              ({"ACC": 0.7, "MACC": 0.5}, ["ACC", "MACC"])])
def test_every_score_must_beat_the_baseline(own, doubted):
    doubts = baseline_doubts(own, {"ACC": 0.7, "MACC": 0.6}, "LR")
    assert [doubt.split()[4] for doubt in doubts] == doubted
    assert all(doubt.startswith("LR has the higher") for doubt in doubts)


def test_an_upper_layer_is_held_against_what_the_leaf_implies():
    """The first build's bazaar: 61.1 % of roots right by the root's CNN, 70.2 % by the leaf's parent."""
    assert upper_layer_doubts("root", 0.611, 0.702, 900) == [
        "the CNN of layer 'root' has ACC 0.611 there, the leaf's implied answer 0.702"]
    assert upper_layer_doubts("root", 0.702, 0.702, 900) == []
    assert upper_layer_doubts("root", 0.692, 0.702, 900) == []      # less than a standard error below
