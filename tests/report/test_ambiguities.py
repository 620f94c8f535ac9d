"""The ambiguity register: complete rows, and switches that exist."""

import importlib
import inspect
import re

import nbformat
import numpy as np
import pandas as pd
import pytest

from shoplens import paths
from shoplens.report import ambiguities
from shoplens.search import trained_networks
from shoplens.study.plan import load_study

REGISTER = ambiguities.load_register()
KEYS = ["paper", "section", "quote", "open", "default", "alternatives", "parameter", "measured"]


@pytest.mark.parametrize("name", REGISTER)
def test_a_row_is_complete_and_its_switch_exists(name):
    row = REGISTER[name]
    assert list(row) in (KEYS, [*KEYS, "effect"])
    assert all(row[key] for key in KEYS if key != "alternatives")
    switch = row["parameter"]
    if switch.startswith("shoplens."):
        target, _, option = re.fullmatch(r"([\w.]+?)(\((\w+)=…\))?", switch).groups()
        module, _, attribute = target.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        assert option is None or re.search(r"\w+", option)[0] in inspect.signature(found).parameters
    else:
        notebook, parameter = switch.split(".")
        cells = nbformat.read(paths.root() / "notebooks" / f"{notebook}.ipynb", as_version=4).cells
        tagged = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
        assert re.search(rf"(?m)^{parameter} = ", tagged.source)


@pytest.mark.parametrize("name", [name for name, row in REGISTER.items() if "`" in row["measured"]])
def test_the_row_named_under_measured_is_one_the_study_writes(name):
    row = re.search(r"`([^`]+)`", REGISTER[name]["measured"])[1]
    if "table4_gains" in REGISTER[name]["measured"]:
        learned = [run.parameters() for run in load_study().plan("bazaar", "laptop").values()
                   if run.notebook.stem == trained_networks.NOTEBOOK]
        assert row in {trained_networks.selection_name(
            known["POSITIVE_RANK"], known["AMBIGUOUS"], squared=not known["PLAIN"], interval=known["INTERVAL"],
            usual_interval=50) for known in learned}
    else:
        sources = [path.read_text(encoding="utf-8") for path in (paths.root() / "notebooks").glob("*.ipynb")]
        assert any(row.split(", ")[-1] in source for source in sources), row


GAINS = pd.DataFrame({"subset": ["full", "core"], "variant": ["ssCNN, one template", "other"], "metric": "MACC",
                      "value": [-0.02, 0.5], "low": [-0.04, 0.4], "high": [0.01, 0.6]})
SCORES = pd.DataFrame({"subset": "full", "alternative": ["as run", "literal denominator", "literal denominator"],
                       "fit_split": ["train", "val", "train"], "metric": "MACC", "split": "val", "seed": 0,
                       "value": [0.8, 0.7, 0.6]})


def test_effects_come_from_the_rows_named(tmp_path):
    tables = {name: tmp_path / f"{name}.csv" for name in ("ablations", "04_bcnn_mcr_alternatives")}
    GAINS.to_csv(tables["ablations"], index=False)
    SCORES.to_csv(tables["04_bcnn_mcr_alternatives"], index=False)
    found = ambiguities.effects(REGISTER, tables).set_index("ambiguity")
    assert set(found.index) == {"attention-reading", "mcr-denominator"}
    assert tuple(found.loc["attention-reading", ["value", "low", "high", "on"]]) == (-0.02, -0.04, 0.01, "full")
    assert found.loc["mcr-denominator", "value"] == pytest.approx(0.6 - 0.8)
    assert np.isnan(found.loc["mcr-denominator", "low"])
    text = ambiguities.readable(REGISTER, found.reset_index()).set_index("ambiguity")
    assert list(text.index) == list(REGISTER)
    assert text.loc["attention-reading", "effect"] == "MACC -0.020 [-0.040, +0.010] (ssCNN, one template; full)"
    assert text.loc["mcr-denominator", "effect"] == (
        "MACC -0.200, from -0.200 to -0.200 in 1 runs (literal denominator, train)")
    assert text.loc["attribute-branch", "effect"] == "no such run here"
    assert text.loc["attention-place", "effect"] == REGISTER["attention-place"]["measured"]


def test_a_column_that_is_not_there_is_named(tmp_path):
    GAINS.drop(columns="variant").to_csv(tmp_path / "ablations.csv", index=False)
    with pytest.raises(KeyError, match="variant"):
        ambiguities.effects(REGISTER, {"ablations": tmp_path / "ablations.csv"})


def test_nothing_ran_so_nothing_was_measured():
    assert ambiguities.effects(REGISTER, {}).empty
    assert len(ambiguities.readable(REGISTER, ambiguities.effects(REGISTER, {}))) == len(REGISTER)
