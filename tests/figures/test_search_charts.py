"""Plots of search: which pictures stand where, and which are framed."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from shoplens.figures import charts, search_charts
from shoplens.search.mining import Candidates

VALUES = np.arange(1, 13, dtype=np.uint8)       # row r shows r + 1
PICTURES = VALUES[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)


@pytest.fixture(autouse=True)
def _quiet_canvas():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def _shown(figure) -> list[int]:
    """What each place shows: the value of its picture."""
    return [int(axis.images[0].get_array()[0, 0, 0]) for axis in figure.axes if axis.images]


def test_a_ranking_stands_in_a_line_and_other_products_are_framed():
    items = np.array([7, 8, 7, 8, 9, 7, 7, 7, 7, 7, 7, 7])
    rows = np.array([[0, 2, 1], [3, 1, 4]])
    figure = search_charts.ranking_sheet(PICTURES, items, rows, ["query\nAP 0.50", "learned"])
    assert _shown(figure) == [1, 3, 2, 4, 2, 5]
    assert [bool(axis.patches) for axis in figure.axes] == [False, False, True, False, False, True]
    assert [axis.get_title() for axis in figure.axes] == ["query\nAP 0.50", "1", "2", "learned", "1", "2"]


def test_candidates_stand_in_their_roles_and_empty_places_are_grey():
    few = Candidates(0, 1, np.array([5]), 4, np.array([], int), 3)
    many = Candidates(0, 2, np.array([6, 7, 8]), 6, np.array([3, 9, 10]), 1)
    figure = search_charts.candidate_sheet(PICTURES, [(0, 0, few), (4, 20, many)], count=2)
    grey = search_charts.EMPTY
    assert _shown(figure) == [1, 2, 5, 6, grey, grey, grey, 1, 3, 7, 7, 8, 4, 10]
    titles = [axis.get_title().split("\n") for axis in figure.axes]
    assert [epoch for _, epoch in titles] == ["epoch 1"] * 7 + ["epoch 5"] * 7
    assert [titles[i][0] for i in (0, 2, 3, 4, 6)] == ["query", "n'", "hard 1", "hard 2", "ambiguous 2"]


def test_curves_begin_before_training():
    history = pd.DataFrame({"epoch": [1, 2], "triplets": [9.0, 5.0], "map": [0.5, 0.4], "acc": [0.7, 0.8],
                            "best": [True, False]})
    left, right = search_charts.training_curves(history, {"map": 0.3, "acc": 0.6}, 20).axes
    assert left.lines[0].get_xydata().tolist() == [[1, 9], [2, 5]]
    assert right.lines[0].get_xydata().tolist() == [[0, 0.3], [1, 0.5], [2, 0.4]]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["MAP@20", "ACC@20"]


def test_the_curve_begins_before_training_and_untrained_features_are_lines():
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "map": [0.4, 0.6, 0.5],
                            "best": [False, True, False]})
    left, right = search_charts.training_curves(history, {"map": 0.3}, 20, ("loss", "training loss"),
                                                {"average pooling": 0.35, "NetVLAD": 0.45}).axes
    assert left.lines[0].get_ydata().tolist() == [3, 2, 1]
    assert right.lines[0].get_xdata().tolist() == [0, 1, 2, 3]
    assert right.lines[0].get_ydata().tolist() == [0.3, 0.4, 0.6, 0.5]
    assert [line.get_ydata()[0] for line in right.lines[1:3]] == [0.35, 0.45]
    assert right.lines[3].get_xdata()[0] == 2
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["MAP@20", "average pooling", "NetVLAD"]
    assert left.get_ylabel() == "training loss"


def test_drift_stands_where_in_the_epoch_it_was_measured():
    drift = pd.DataFrame({"epoch": [0, 1], "query": [50, 0], "moved": [0.1, 0.3]})
    axis, = search_charts.drift_curve(drift, 100, 0.1).axes
    assert axis.lines[0].get_xydata().tolist() == [[1.5, 0.1], [2.0, 0.3]]


def test_bars_by_treatment_are_the_tables_numbers():
    table = pd.DataFrame([{"variant": v, "way": w, "value": value, "low": value - 0.1, "high": value + 0.2}
                          for v, w, value in (("a", "plain", 0.3), ("a", "power", 0.4), ("b", "plain", 0.5),
                                              ("b", "power", 0.2))])
    axis = charts.interval_bars(table, "way", "MAP@20").axes[0]
    bars = {(bar.get_label(), i): patch for bar in axis.containers if hasattr(bar, "patches")
            for i, patch in enumerate(bar.patches)}
    assert {key: round(patch.get_height(), 6) for key, patch in bars.items()} == {
        ("a", 0): 0.3, ("a", 1): 0.4, ("b", 0): 0.5, ("b", 1): 0.2}
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["plain", "power"]
    assert len({patch.get_x() for patch in bars.values()}) == 4
