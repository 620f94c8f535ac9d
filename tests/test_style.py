"""ruff, over the library, the benchmarks, the coursework, the tests and the notebooks' code."""

import subprocess
import sys

from shoplens import paths


def test_ruff_finds_nothing():
    folders = ["lib", "benchmarks", "coursework", "tests", "notebooks"]
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", *folders]
    result = subprocess.run(command, cwd=paths.root(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
