"""Shared fixtures, and the order of the files. Tests that need real photographs or pretrained weights ask for
`study_data` or `study_weights`: they are skipped by name where the variable is unset, and fail where it points to
nothing. With `STUDY_NO_SKIPS=1` (continuous integration with data at hand) any skipped test fails the session."""

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import warm_python as warm
from scores import rng, small  # noqa: F401 - fixtures of the tests of MCR

# Tests move the study's root; a relative folder is meant from where pytest was started.
for _variable in ("STUDY_DATA", "STUDY_WEIGHTS"):
    if os.environ.get(_variable):
        os.environ[_variable] = str(Path(os.environ[_variable]).resolve())

# Files that take more than ten seconds of a core come after all others: a broken method line shows within the first
# minute. Among them the longest come first, so that no worker is left alone with one of them at the end.
SLOW = ("test_warm_python", "test_smoke_bazaar", "test_injection", "test_smoke_folder", "test_smoke_search",
        "test_execute", "test_what_was_read", "test_index_page", "test_make", "test_verify", "test_resume",
        "test_bazaar", "test_backbones", "test_registry", "test_grader", "test_nbgrader", "test_programs",
        "test_versions")


def pytest_configure(config):
    """Start what stands behind `warm_python`, once for all workers, which inherit the variable."""
    if hasattr(config, "workerinput"):
        return
    stack = ExitStack()
    config.add_cleanup(stack.close)
    folder = Path(stack.enter_context(TemporaryDirectory()))
    os.environ["WARM_PYTHON"] = stack.enter_context(warm.warm_python(folder))


def pytest_collection_modifyitems(items):
    """Quick files first."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) + 1 if item.path.stem in SLOW else 0)


@pytest.fixture(scope="session")
def warm_python() -> str:
    """Path of an interpreter for `make PYTHON=`, with the large packages imported already."""
    return os.environ["WARM_PYTHON"]


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
        reporter.ensure_newline()
        reporter.write_line(f"STUDY_NO_SKIPS=1 and {len(skipped)} tests were skipped: failing", red=True)
        session.exitstatus = 1
