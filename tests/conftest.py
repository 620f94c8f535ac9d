"""Shared fixtures. Tests that need real photographs or pretrained weights ask for `study_data` or `study_weights`:
they are skipped by name where the variable is unset, and fail where it points to nothing."""

import os
from pathlib import Path

import pytest


def _given(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    folder = Path(value).resolve()
    assert folder.is_dir(), f"{variable}={value} is not a folder"
    return folder


@pytest.fixture
def study_data() -> Path:
    """Folder of raw data."""
    return _given("STUDY_DATA")


@pytest.fixture
def study_weights() -> Path:
    """Folder of pretrained weights."""
    return _given("STUDY_WEIGHTS")


@pytest.fixture
def scratch_root(tmp_path, monkeypatch) -> Path:
    """A throwaway root: whatever the code under test caches or emits lands in it."""
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    monkeypatch.delenv("STUDY_CACHE", raising=False)
    return tmp_path
