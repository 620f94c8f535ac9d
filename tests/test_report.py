"""The report's formulas and links, and what the environment check says."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from shoplens import checkenv
from shoplens.report import _emitted, with_mathml


def test_formulas_become_mathml_and_code_stays():
    told = with_mathml("Loss $L = \\frac{1}{N}$ and\n\n$$s \\in \\mathbb{R}^{N}$$\n\n"
                       "but `$HOME` and\n```sh\necho $A $B\n```")
    assert told.count("<math") == 2
    assert 'display="block"' in told
    assert "<mfrac>" in told
    assert "`$HOME`" in told
    assert "echo $A $B" in told


def test_prices_are_no_formulas():
    """A lone dollar sign opens nothing; a formula never runs over a line."""
    assert with_mathml("costs 5 $ here\nand 6 $ there") == "costs 5 $ here\nand 6 $ there"


def test_the_report_links_a_page_under_its_run(tmp_path):
    target = tmp_path / "notebooks" / "12_toy.ipynb"
    target.parent.mkdir()
    target.touch()
    run = SimpleNamespace(id="12_toy", title="Toy", target=target, results=tmp_path, optional=(),
                          outputs=("artefacts/toy.html", "artefacts/toy.pt"),
                          published=lambda output: tmp_path / "artefacts" / "12_toy" / Path(output).name)
    told = "".join(_emitted(run))
    assert 'href="artefacts/12_toy/toy.html"' in told
    assert "toy.pt" not in told


def test_environment_works_as_pinned():
    checkenv.exercise()
    assert checkenv.differing(checkenv.pinned()) == []


def test_pins_cover_the_named_tools():
    wanted = {"torch", "torchvision", "timm", "pandas", "seaborn", "scikit-learn", "jupyterlab", "papermill"}
    assert wanted <= set(checkenv.pinned())
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in checkenv.pinned().values())


def test_a_wrong_version_is_told():
    assert checkenv.differing({"torch": "0.0.1", "no-such-package": "1.0"}) == [
        f"torch: {torch.__version__.split('+')[0]}, pinned 0.0.1", "no-such-package: not installed, pinned 1.0"]


@pytest.mark.parametrize(("gpu", "memory", "profile"), [(0, 24, "laptop"), (6, 24, "laptop"), (24, 64, "paper"),
                                                        (0, 4, "smoke")])
def test_advice(gpu, memory, profile):
    assert f"PROFILE={profile} " in checkenv.advice(gpu, memory)
