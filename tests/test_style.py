"""ruff, over the library, the tests and the notebooks' code."""

import subprocess
import sys

from shoplens import paths


def test_ruff_finds_nothing():
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "lib", "tests", "notebooks"]
    told = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout
