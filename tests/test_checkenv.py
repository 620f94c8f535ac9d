"""What the environment check says."""

import re

import pytest
import torch

from shoplens import checkenv


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
