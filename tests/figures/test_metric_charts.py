"""Plots of notebook 09b show the numbers they are given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from shoplens.figures.metric_charts import pulls


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
