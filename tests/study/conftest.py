"""What the tests of the study share."""

import pytest
from throwaway import Throwaway


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A throwaway study, which is the study at hand."""
    monkeypatch.setenv("STUDY_ROOT", str(tmp_path))
    return Throwaway(tmp_path)
