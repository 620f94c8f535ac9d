"""The house stands on floors: a module imports from its own package and from the floors below, never from above."""

import ast
from pathlib import Path

import pytest

from shoplens import paths

# From the ground up. Parts of one floor do not need each other; a part is a package of lib/shoplens, or a module
# directly in it.
FLOORS = (("paths", "errors", "syntax", "processes"), ("environment", "modules", "strict_yaml", "sealed"), ("data",),
          ("models", "jobs"), ("checkpoints",), ("training",), ("statistics",), ("figures",),
          ("classification", "search"), ("study",), ("recorded",), ("prepare_data", "report", "coursework"))
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
LIBRARY = paths.root() / "lib" / "shoplens"
MODULES = sorted(file for file in LIBRARY.rglob("*.py") if file != LIBRARY / "__init__.py")


def imported(text: str) -> set[str]:
    """Parts of the library that source code imports, wherever in it; imports for type checkers alone do not count."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("shoplens.")}


def upwards(part: str, text: str) -> set[str]:
    """Imported parts that lie on the floor of `part`, itself aside, or above."""
    return {other for other in imported(text) - {part} if FLOOR_OF[other] >= FLOOR_OF[part]}


def part_of(file: Path) -> str:
    return file.relative_to(LIBRARY).parts[0].removesuffix(".py")


def test_every_part_has_a_floor():
    assert {part_of(file) for file in MODULES} == set(FLOOR_OF)


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(LIBRARY)))
def test_imports_come_from_below(file):
    assert not upwards(part_of(file), file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("text", "wrong"), [
    ("from shoplens import paths\nfrom shoplens.data import catalogue\nimport shoplens.models.flat", set()),
    ("from shoplens.statistics.accuracy import acc", set()),
    ("def late():\n    from shoplens.study.plan import load_study", {"study"}),
    ("from shoplens import report, search", {"report", "search"}),
    ("import shoplens.search.nearest as nearest", {"search"}),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from shoplens.study.plan import Study\n"
     "else:\n    from shoplens import report", {"report"})])
def test_upward_and_sideways_imports_are_seen(text, wrong):
    assert upwards("classification", text) == wrong
