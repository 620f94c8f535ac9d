"""The ambiguity register: complete rows, and switches that exist."""

import importlib
import inspect
import re

import nbformat
import pytest
import yaml

from shoplens import paths

REGISTER = yaml.safe_load((paths.root() / "ambiguities.yml").read_text(encoding="utf-8"))
KEYS = ["paper", "section", "quote", "open", "default", "alternatives", "parameter", "measured"]


@pytest.mark.parametrize("name", REGISTER)
def test_a_row_is_complete_and_its_switch_exists(name):
    row = REGISTER[name]
    assert list(row) == KEYS
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
def test_the_row_that_is_said_to_measure_it_is_one_a_notebook_writes(name):
    row = re.search(r"`([^`]+)`", REGISTER[name]["measured"])[1].split(", ")[-1]
    sources = [path.read_text(encoding="utf-8") for path in (paths.root() / "notebooks").glob("*.ipynb")]
    assert any(row in source for source in sources), row
