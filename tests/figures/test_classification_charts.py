"""Plots of the classification notebooks: outlines by geometry, and pictures that show the numbers given."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb

from shoplens.figures import classification_charts as plots
from shoplens.figures.charts import PALETTE


@pytest.fixture(autouse=True)
def _quiet_canvas():
    """Nothing on a screen, nothing left open, and a warning is an error (seaborn's own calls of old names aside)."""
    plt.switch_backend("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        yield
    plt.close("all")


def edges(mask):
    return {tuple(sorted((tuple(map(int, a)), tuple(map(int, b))))) for a, b in plots.outline(mask)}


def test_one_cell_has_four_edges():
    mask = np.zeros((4, 5), bool)
    mask[2, 3] = True       # row 2: y from 2 to 3; column 3: x from 3 to 4
    assert edges(mask) == {((3, 2), (4, 2)), ((3, 3), (4, 3)), ((3, 2), (3, 3)), ((4, 2), (4, 3))}
    assert len(plots.outline(mask)) == 4


def test_a_full_matrix_has_only_its_border():
    rows, columns = 3, 4
    border = {((c, r), (c + 1, r)) for c in range(columns) for r in (0, rows)}
    border |= {((c, r), (c, r + 1)) for r in range(rows) for c in (0, columns)}
    assert edges(np.ones((rows, columns), bool)) == border
    assert plots.outline(np.zeros((rows, columns), bool)) == []


def test_outline_is_as_long_as_there_are_changes(rng):
    for _ in range(20):
        mask = rng.random((5, 7)) < 0.5

        def at(r, c, mask=mask):
            return 0 <= r < 5 and 0 <= c < 7 and bool(mask[r, c])

        changes = sum(at(r, c) != at(r + 1, c) for r in range(-1, 5) for c in range(7))
        changes += sum(at(r, c) != at(r, c + 1) for r in range(5) for c in range(-1, 7))
        segments = plots.outline(mask)
        assert sum(abs(x2 - x1) + abs(y2 - y1) for (x1, y1), (x2, y2) in segments) == changes
        assert len(edges(mask)) == len(segments) == changes


def test_weight_heatmaps_outline_the_mask_on_both_panels(rng):
    sizes, mask = (2, 4), rng.random((6, 6)) < 0.4
    figure = plots.weight_heatmaps(rng.normal(size=(6, 6)), rng.normal(size=(6, 6)), mask, sizes, ("root", "leaf"))
    figure.canvas.draw()
    panels = figure.axes[:2]
    for axis in panels:
        lines = [c.get_segments() for c in axis.collections if isinstance(c, LineCollection)]
        assert len(plots.outline(mask)) in map(len, lines)
        assert [label.get_text() for label in axis.get_xticklabels()] == ["root", "leaf"]
        assert axis.get_xticks().tolist() == [1, 4]         # middles of 0…2 and 2…6
    assert "Omega" in panels[0].get_title()
    assert "refit" in panels[1].get_title()


def test_reliability_draws_one_curve_a_score():
    curves = pd.DataFrame({"scores": ["raw"] * 2 + ["adjusted"] * 2, "confidence": [0.3, 0.9, 0.2, 0.8],
                           "accuracy": [0.2, 0.8, 0.25, 0.85], "images": [10, 30, 0, 40]})
    figure = plots.reliability(curves)
    figure.canvas.draw()
    lines = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].get_lines()}
    assert lines["raw"] == [[0.3, 0.2], [0.9, 0.8]]
    assert lines["adjusted"] == [[0.2, 0.25], [0.8, 0.85]]
    assert list(lines.values())[0] == [[0, 0], [1, 1]]


def _gains():
    cases = {"better": (0.02, 0.01, 0.03), "worse": (-0.02, -0.03, -0.01), "inside the noise": (0.0, -0.01, 0.01)}
    return pd.DataFrame([
        {"subset": subset, "variant": variant, "against": "bCNN", "metric": metric, "value": value, "low": low,
         "high": high, "verdict": verdict}
        for subset in ("full", "core") for metric in ("ACC", "MACC")
        for variant, (verdict, (value, low, high)) in zip(("ssCNN", "bMTL-RL", "ours"), cases.items(), strict=True)])


def test_gain_forest_has_one_panel_per_subset_and_metric():
    figure = plots.gain_forest(_gains())
    figure.canvas.draw()
    assert [axis.get_title() for axis in figure.axes] == ["ACC, full images", "MACC, full images", "ACC, core images",
                                                          "MACC, core images"]
    figure = plots.gain_forest(_gains().query("subset == 'core' and metric == 'MACC'"))
    assert [axis.get_title() for axis in figure.axes] == ["MACC, core images"]


def test_gain_forest_draws_points_and_intervals_in_the_colour_of_the_verdict():
    axis = plots.gain_forest(_gains()).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["ssCNN", "bMTL-RL", "ours"]
    drawn = [(line.get_xdata(), line.get_ydata(), to_rgb(line.get_color())) for line in axis.get_lines()]
    for place, (low, value, high, colour) in enumerate([(1, 2, 3, PALETTE[2]), (-3, -2, -1, PALETTE[3]),
                                                        (-1, 0, 1, "grey")]):
        (interval, at, first), (point, also_at, second) = drawn[2 * place], drawn[2 * place + 1]
        assert list(interval) == pytest.approx([low, high])
        assert list(point) == pytest.approx([value])
        assert {*at, *also_at} == {place}
        assert first == second == to_rgb(colour)
    assert axis.yaxis_inverted()        # the first variant on top


def test_a_variant_that_one_subset_lacks_leaves_a_gap():
    gains = _gains()
    gains = gains[(gains["subset"] == "full") | (gains["variant"] != "bMTL-RL")]
    full, _, core, _ = plots.gain_forest(gains).axes
    assert (len(full.get_lines()), len(core.get_lines())) == (2 * 3 + 1, 2 * 2 + 1)
    assert {y for line in core.get_lines()[:-1] for y in line.get_ydata()} == {0, 2}


def test_root_bars_show_every_score_with_its_interval():
    scores = {"shoes": (0.5, 0.6), "bags $5": (0.9, 0.7)}
    by_root = pd.DataFrame([{"root": root, "variant": variant, "value": value, "low": value - 0.1, "high": value + 0.05,
                             "n": 5} for root, values in scores.items()
                            for variant, value in zip(("bCNN", "aCNN"), values, strict=True)])
    figure = plots.root_bars(by_root)
    figure.canvas.draw()
    for axis, values in zip(figure.axes, scores.values(), strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in axis.patches], 100 * np.array(values))
        [segments] = [line.get_segments() for line in axis.collections]
        np.testing.assert_allclose([[low, high] for (_, low), (_, high) in segments],
                                   [[100 * (v - 0.1), 100 * (v + 0.05)] for v in values])
    assert [axis.get_title() for axis in figure.axes] == ["shoes (5 images)", r"bags \$5 (5 images)"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["bCNN", "aCNN"]
