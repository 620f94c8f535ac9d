"""Plots of notebook 09b show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from shoplens.figures.metric_charts import learning, pulls


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_arrows_lie_along_the_circle_and_the_longest_of_each_panel_is_as_long():
    angle = np.array([0.0, 1.0, 2.0])
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    steps = np.array([[3.0, 4.0], [0.1, -0.2], [0.0, 0.0]])     # the first: 3 outwards, 4 along
    figure = pulls(points, np.array([0, 1, 0]), {"a": (steps, None), "b": (10 * steps, points[:2]),
                                                 "still": (0 * steps, None)})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b", "still"]
    arrows = [np.column_stack([axis.collections[-1].U, axis.collections[-1].V]) for axis in figure.axes]
    np.testing.assert_allclose(arrows[0][0], [0, 0.7], atol=1e-12)
    np.testing.assert_allclose((arrows[0] * points).sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(arrows[1], arrows[0])
    assert not arrows[2].any()
    assert [len(axis.lines) for axis in figure.axes] == [1, 3, 1]


def test_the_curve_begins_before_training_and_untrained_features_are_lines():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "map": [0.4, 0.6, 0.5],
                            "best": [False, True, False]})
    figure = learning(history, 0.3, {"average pooling": 0.35, "NetVLAD": 0.45}, 20)
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [3, 2, 1]
    assert right.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert right.lines[0].get_ydata().tolist() == [0.3, 0.4, 0.6, 0.5]
    assert [line.get_ydata()[0] for line in right.lines[1:3]] == [0.35, 0.45]
    assert right.lines[3].get_xdata()[0] == 2
    assert right.get_ylabel() == "MAP@20, validation"
