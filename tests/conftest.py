"""Shared fixtures. Tests that need real photographs or pretrained weights ask for `study_data` or `study_weights`:
they are skipped by name where the variable is unset, and fail where it points to nothing. With `STUDY_NO_SKIPS=1`
(continuous integration with data at hand) any skipped test fails the session."""

import os
from pathlib import Path

import pytest
from scores import rng, small  # noqa: F401 - fixtures of the tests of MCR

# Tests move the study's root; a relative folder is meant from where pytest was started.
for _variable in ("STUDY_DATA", "STUDY_WEIGHTS"):
    if os.environ.get(_variable):
        os.environ[_variable] = str(Path(os.environ[_variable]).resolve())

# Files that take more than a few seconds, the slowest last: a broken method line shows within the first minute.
SLOW = ("test_bazaar", "test_sources", "test_backbones", "test_training", "test_resume", "test_make", "test_run",
        "test_smoke")


def pytest_collection_modifyitems(items):
    """Quick files first."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) + 1 if item.path.stem in SLOW else 0)


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


def pytest_sessionfinish(session, exitstatus):
    """Turn a session with skipped tests into a failed one where skips are forbidden."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("STUDY_NO_SKIPS") == "1" and exitstatus == 0:
        reporter.write_line(f"STUDY_NO_SKIPS=1 and {len(skipped)} tests were skipped: failing", red=True)
        session.exitstatus = 1
