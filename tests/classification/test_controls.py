"""Controls and headroom, against loops and cases made by hand."""

import numpy as np
import pandas as pd
import pytest
from scores import tree

from shoplens.classification import controls
from shoplens.classification.evaluation import Scores
from shoplens.classification.logit_adjustment import logit_adjust
from shoplens.data.catalogue import Catalogue

ROWS = np.arange(6)


def of(*values, layer="leaf") -> dict[int, Scores]:
    """Scores of the same six rows, one seed each."""
    return {seed: Scores(layer, {"test": ROWS, "val": ROWS}, {"test": each, "val": each})
            for seed, each in enumerate(values)}


def softmax(row):
    return np.exp(row) / np.exp(row).sum()


def test_an_ensemble_is_the_mean_of_probabilities_round_the_ring(rng):
    values = [rng.normal(size=(6, 4)) for _ in range(3)]
    found = controls.ensembles(of(*values), 2)
    assert list(found) == [0, 1, 2]
    for seed, partner in ((0, 1), (1, 2), (2, 0)):
        for row in range(6):
            mean = (softmax(values[seed][row]) + softmax(values[partner][row])) / 2
            np.testing.assert_allclose(np.exp(found[seed].values["test"][row]), mean)
    assert controls.ensembles(of(*values), 4) == {}


def test_layers_are_summed_along_the_tree(rng):
    hierarchy = tree((0, 0, 1, 1))
    roots, leaves = rng.normal(size=(6, 2)), rng.normal(size=(6, 4))
    by_layer = {"layer0": of(roots, layer="layer0"), "layer1": of(leaves, leaves)}
    found = controls.summed_layers(by_layer, hierarchy)
    assert list(found) == [0]       # the root has no second seed
    for row in range(6):
        for leaf, root in enumerate((0, 0, 1, 1)):
            expected = np.log(softmax(leaves[row])[leaf]) + np.log(softmax(roots[row])[root])
            assert found[0].values["test"][row, leaf] == pytest.approx(expected)


def test_tau_is_chosen_on_validation_and_used_on_test():
    """Class 0 is nine times as common, and wins by its prior alone wherever the evidence is weak."""
    labels, counts = np.array([0, 0, 0, 1, 1, 1]), np.array([90, 10])
    evidence = np.array([[2, 0], [2, 0], [2, 0], [0, 1], [0, 1], [0, 1]], float)
    scores = evidence + np.log(counts / 100)
    adjusted = controls.adjusted(of(scores), labels, counts)[0].values["test"]
    assert (scores.argmax(1) == labels).mean() == 0.5
    assert (adjusted.argmax(1) == labels).all()
    taus = [tau for tau in controls.TAUS if np.array_equal(adjusted, logit_adjust(scores, counts, tau))]
    assert len(taus) == 1


def test_a_true_root_rules_out_every_other(rng):
    hierarchy, labels = tree((0, 0, 1, 1)), np.array([0, 1, 2, 3, 0, 2])
    values = rng.normal(size=(6, 4))
    kept = controls.with_true_root(of(values), labels, hierarchy)[0].values["test"]
    for row, leaf in enumerate(labels):
        own = [0, 1] if leaf < 2 else [2, 3]
        np.testing.assert_array_equal(kept[row, own], values[row, own])
        assert np.isneginf(np.delete(kept[row], own)).all()


def test_true_attributes_weigh_leaves_by_training_counts():
    """Boots are red in three of four training images, totes never; one test image is red, one has no label."""
    images = pd.DataFrame({
        "image_id": list("abcdefgh"), "path": list("abcdefgh"), "leaf": ["boot"] * 4 + ["tote"] * 2 + ["boot", "tote"],
        "colour": ["red", "red", "red", "blue", "blue", "blue", "red", None], "split": ["train"] * 6 + ["test"] * 2})
    catalogue = Catalogue.build("toy", ".", images, layers=["leaf"], attributes=["colour"], licence="none")
    own = {0: Scores("leaf", {"test": np.array([6, 7])}, {"test": np.log([[0.4, 0.6], [0.4, 0.6]])})}
    found = controls.with_true_attributes(own, catalogue)[0].values["test"]
    boot, tote = 4 / 6, 1 / 4       # one added to each count, of two colours
    np.testing.assert_allclose(found[0], np.log([0.4 * boot, 0.6 * tote]))
    np.testing.assert_allclose(found[1], np.log([0.4, 0.6]))
    whole = controls.headroom(own, catalogue.labels("leaf"), catalogue)
    assert list(whole) == ["as it is", "with the true attributes"]      # one layer has no root to be told
