"""The report's cards against tables made by hand."""

import pandas as pd
import pytest

from shoplens.report import cards
from shoplens.report.cards import Line

SPACE = "\u00a0"


def _table1(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["subset", "variant", "metric", "k", "seed", "value", "n"])


def _gains(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["subset", "variant", "metric", "value", "low", "high", "verdict"])


def _table5(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["protocol", "variant", "distractors", "seed", "metric", "value"])


def test_the_flat_cnn_is_averaged_over_seeds_and_read_at_top_1():
    card = cards.flat_cnn(_table1(
        ("full", "bCNN", "ACC", 1, 0, 0.80, 1811), ("full", "bCNN", "ACC", 1, 1, 0.81, 1811),
        ("full", "bCNN", "MACC", 1, 0, 0.70, 1811), ("full", "bCNN", "MACC", 1, 1, 0.60, 1811),
        ("full", "bCNN", "ACC", 5, 0, 0.99, 1811), ("full", "ours", "ACC", 1, 0, 0.10, 1811)))
    assert card.lines == (Line("80.5 · 65.0 %", "ACC · MACC, full images (1,811 in test)"),)
    assert card.note == "Mean over 2 seeds."


def test_the_best_variant_is_the_papers_and_by_macc():
    gains = _gains(("full", "ssCNN", "MACC", 0.010, -0.002, 0.020, "inside the noise"),
                   ("full", "ssCNN", "ACC", 0.500, 0.400, 0.600, "better"),
                   ("full", "bMTL-CA", "MACC", 0.030, 0.012, 0.049, "better"),
                   ("full", "ours", "MACC", 0.090, 0.080, 0.100, "better"),
                   ("core", "ssCNN", "MACC", -0.010, -0.02, -0.001, "worse"),
                   ("core", "bMTL-CA", "MACC", -0.020, -0.03, -0.010, "worse"),
                   ("core", "ours", "MACC", -0.001, -0.02, 0.010, "inside the noise"))
    assert cards.best_variant(gains).lines == (
        Line("+3.0 points", f"bMTL-CA, full images [+1.2,{SPACE}+4.9]", "better"),
        Line("-1.0 points", f"ssCNN, core images [-2.0,{SPACE}-0.1]", "worse"))
    assert "2 structure-aware variants" in cards.best_variant(gains).note
    assert cards.ours(gains).lines == (
        Line("+9.0 points", f"ours, full images [+8.0,{SPACE}+10.0]", "better"),
        Line("-0.1 points", f"ours, core images [-2.0,{SPACE}+1.0]", "inside the noise"))


def test_search_goes_from_off_the_shelf_to_the_best_feature_there_is():
    table5 = _table5(("items", "O", 0, 0, "MAP@20", 0.2), ("items", "L+G", 0, 0, "MAP@20", 0.5),
                     ("items", "L+G", 0, 1, "MAP@20", 0.7), ("items", "L+G", 999, 0, "MAP@20", 0.1),
                     ("items", "G", 0, 0, "MAP@20", 0.9), ("items", "L+G", 0, 0, "ACC@20", 0.9),
                     ("iconic", "O", 0, 0, "MAP@20", 0.3), ("iconic", "L", 0, 0, "MAP@20", 0.25),
                     ("known", "O", 0, 0, "MAP@20", 0.3))
    gains = pd.DataFrame([("items", "L+G", "G", 0.0, -1.0, 1.0, "inside the noise"),
                          ("items", "L+G", "O", 0.4, 0.31, 0.49, "better"),
                          ("other", "L", "O", 0.4, 0.31, 0.49, "better")],
                         columns=["protocol", "variant", "against", "value", "low", "high", "verdict"])
    card = cards.search(table5, gains)
    assert card.title == "Search, MAP@20"
    assert card.note == "Off the shelf → learned. Mean over 1 to 2 seeds."
    assert card.lines == (
        Line("0.200 → 0.600", f"protocol items, O → L+G: +0.400 [+0.310,{SPACE}+0.490]", "better"),
        Line("0.300 → 0.250", "protocol iconic, O → L"))
    without = cards.search(table5, pd.DataFrame())
    assert cards.search(table5[table5["protocol"] == "iconic"], gains).note == "Off the shelf → learned. One seed."
    assert without.lines[0] == Line("0.200 → 0.600", "protocol items, O → L+G")


def test_statements_are_counted_by_verdict_and_not_on_the_papers_table():
    claims = pd.DataFrame([("a", "P1", "the paper's table", "true"), ("a", "P1", "toy", "reproduced"),
                           ("b", "P2", "toy, items", "reproduced"), ("b", "P2", "toy, iconic", "not reproduced"),
                           ("c", "P1", "toy", "direction only"), ("d", "P1", "toy", "inside the noise"),
                           ("e", "P1", "toy", "not testable here")], columns=["claim", "paper", "where", "verdict"])
    card = cards.statements(claims)
    assert card.lines == (Line("2", "1 of P1, 1 of P2", "reproduced"), Line("1", "1 of P1", "direction only"),
                          Line("1", "1 of P1", "inside the noise"), Line("1", "1 of P2", "not reproduced"))
    assert card.note.startswith("4 can be tested here")


def test_no_table_no_card(tmp_path):
    assert cards.cards(tmp_path) == []
    _gains(("full", "ours", "MACC", 0.1, 0.0, 0.2, "better")).to_csv(tmp_path / "table1_gains.csv", index=False)
    _table1(("full", "ssCNN", "ACC", 1, 0, 0.8, 9)).to_csv(tmp_path / "table1_classification.csv", index=False)
    assert [card.title for card in cards.cards(tmp_path)] == ["Our variant, MACC"]


def test_a_table_of_another_state_of_the_study_is_an_error_not_a_blank(tmp_path):
    pd.DataFrame({"variant": ["bCNN"]}).to_csv(tmp_path / "table1_classification.csv", index=False)
    with pytest.raises(KeyError):
        cards.cards(tmp_path)
