"""What the environment check says."""

import importlib
import re
import sys

import pytest
import torch

from shoplens import environment
from shoplens.study.plan import load_study


def test_environment_works_as_pinned():
    environment.exercise()
    assert environment.differing(environment.pinned()) == []


def test_pins_cover_the_named_tools():
    wanted = {"torch", "torchvision", "timm", "pandas", "seaborn", "scikit-learn", "jupyterlab", "papermill"}
    assert wanted <= set(environment.pinned())
    assert all(re.fullmatch(r"\d[\w.]*", version) for version in environment.pinned().values())


def test_a_wrong_version_is_named():
    assert environment.differing({"torch": "0.0.1", "no-such-package": "1.0"}) == [
        f"torch: {torch.__version__.split('+')[0]}, pinned 0.0.1", "no-such-package: not installed, pinned 1.0"]


def test_what_is_not_installed_is_named_and_not_imported(monkeypatch, capsys):
    for name in ("faiss", "psutil"):
        monkeypatch.setitem(sys.modules, name, None)        # an import of it fails
    importlib.reload(environment)
    monkeypatch.setattr(environment, "pinned", lambda: {"no-such-package": "1.0"})
    assert environment.main() == 1
    errors = capsys.readouterr().err
    assert "no-such-package: not installed, pinned 1.0" in errors
    assert "for want of faiss, psutil; python -m pip install -r requirements.txt" in errors


@pytest.mark.parametrize(("gpu", "memory", "profile"), [(0, 24, "laptop"), (6, 24, "laptop"), (24, 64, "paper"),
                                                        (24, 32, "laptop"), (0, 4, "smoke")])
def test_advice(gpu, memory, profile):
    assert environment.advice(gpu, memory).startswith(f"PROFILE={profile} ")


def test_advice_knows_what_search_takes():
    plan = load_study().plan("grocery", "paper")
    wanted = [run.parameters().get("MEMORY_GIB", 0) for run in plan.values() if run.id.startswith("09_unseen")]
    assert max(wanted) == environment.PAPER_MEMORY
    assert "DATASET=grocery wants 16 GiB, or JOBS=1 and 12 GiB" in environment.advice(0, 15)
