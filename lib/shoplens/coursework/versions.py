"""Student, solution and instructor versions of one source notebook, as plain JSON in nbgrader's cell metadata."""

import copy
import json
import re
from pathlib import Path

from shoplens import paths
from shoplens.coursework.checking import VISIBLE, Task
from shoplens.coursework.course import Exercise, Sheet, folder
from shoplens.coursework.prose import Study, expand, heading, translations
from shoplens.errors import StudyError
from shoplens.syntax import short_hash

VERSIONS = ("student", "solution", "instructor")
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n(.*?)^ *### END SOLUTION\n?", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL)
NUMBER = re.compile(r"^([A-Z][A-Z0-9_]*) = [^#]*(#.*)$", re.MULTILINE)
WRITE_HERE = "*Your answer.*\n"


def read_source(sheet: Sheet) -> dict:
    """The source notebook; each cell's text as one string. StudyError where it is missing, or its cells do not fit
    course.yml."""
    file = folder() / "source" / f"{sheet.name}.ipynb"
    if not file.exists():
        raise StudyError(f"coursework {sheet.name} has no source: there is no {file.name}")
    book = json.loads(file.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        cell["source"] = "".join(cell["source"])
    found = {grade_id(cell) for cell in book["cells"]}
    wanted = {e.grade_id for e in sheet.exercises} | {f"{e.grade_id}_{VISIBLE}" for e in sheet.functions}
    if missing := sorted(wanted - found):
        raise StudyError(f"coursework/source/{file.name}: course.yml asks for the cells {', '.join(missing)}")
    return book


def grade_id(cell: dict) -> str:
    """nbgrader's name of a cell, "" where it has none."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def prelude(book: dict, sheet: Sheet, numbers: dict[str, object]) -> list[str]:
    """Code that stands before the exercises: locked, and no test."""
    return [with_numbers(cell["source"], sheet, numbers) for cell in book["cells"]
            if cell["cell_type"] == "code" and (own := cell["metadata"].get("nbgrader")) and own["locked"]
            and not own["grade"]]


def make(version: str, sheet: Sheet, tasks: dict[str, Task], numbers: dict[str, object], language: str = "") -> str:
    """Text of the notebook's file in one of VERSIONS."""
    book, study, texts = read_source(sheet), Study(sheet.study), translations(language, sheet)
    by_cell = {exercise.grade_id: exercise for exercise in sheet.exercises}
    cells, used = [], set()
    for cell in book["cells"]:
        cell = copy.deepcopy(cell)
        if cell["cell_type"] == "markdown":
            title = heading(cell["source"])
            if title in texts:
                used.add(title)
                cell["source"] = texts[title].strip()
            cell["source"] = expand(cell["source"], sheet, study, f"coursework/source/{sheet.name}.ipynb")
        else:
            cell["source"] = with_numbers(cell["source"], sheet, numbers)
        exercise = by_cell.get(grade_id(cell))
        if exercise and not SOLUTION.search(cell["source"]):
            raise StudyError(f"coursework/source/{sheet.name}.ipynb: cell {exercise.grade_id} has no solution region")
        if exercise:
            _answer(cell, exercise, version)
        cells.append(cell)
        if grade_id(cell).endswith(f"_{VISIBLE}") and version != "solution":
            exercise = by_cell[grade_id(cell).removesuffix(f"_{VISIBLE}")]
            cells += _hidden(exercise, tasks[exercise.name], sheet, version)
    if unknown := sorted(set(texts) - used):
        raise StudyError(f"coursework/text/{language}.yml, notebook {sheet.name}: no cell starts with {unknown[0]!r}")
    return _as_file(book, cells)


def with_numbers(text: str, sheet: Sheet, numbers: dict[str, object]) -> str:
    """Code with the notebook's numbers in place of those the source holds: lines `NAME = value   # meaning`."""
    def one(found):
        name, meaning = found[1], found[2]
        return f"{name} = {numbers[name]!r}   {meaning}" if name in sheet.numbers else found[0]
    return NUMBER.sub(one, text)


def _answer(cell: dict, exercise: Exercise, version: str) -> None:
    """Put a stub, or the solution, in the place of the solution region."""
    if version == "student":
        stub = f'raise NotImplementedError("Exercise {exercise.name}: {exercise.function}")\n'
        cell["source"] = SOLUTION.sub(lambda found: found[1] + (stub if exercise.function else WRITE_HERE),
                                      cell["source"]).rstrip()
    elif version == "solution":
        cell["source"] = SOLUTION.sub(lambda found: found[2], cell["source"]).rstrip()
    elif not exercise.function:
        cell["source"] = SOLUTION.sub(lambda found: found[0].replace(
            "### END SOLUTION", f"\n{rubric(exercise)}\n### END SOLUTION"), cell["source"])


def rubric(exercise: Exercise) -> str:
    """Rubric of a written exercise: the section of its name in coursework/rubrics/NN.md."""
    file = folder() / "rubrics" / f"{exercise.name.split('.')[0]}.md"
    parts = re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE) if file.exists() else []
    for part in parts:
        if part.split("\n", 1)[0].strip() == exercise.name:
            return f"**Rubric {exercise.name}**\n\n" + part.split("\n", 1)[1].strip()
    raise StudyError(f"exercise {exercise.name} has no rubric: coursework/rubrics/{file.name} has no "
                     f"`## {exercise.name}`")


def _hidden(exercise: Exercise, task: Task, sheet: Sheet, version: str) -> list[dict]:
    """A cell a hidden check. For students it says no more than that it is there, and for how many points."""
    cells = []
    for number, check in enumerate((c for c in task.checks if c.name != VISIBLE), start=1):
        name = f"{exercise.grade_id}_hidden_{number}"
        numbers = ", ".join(f'"{field}": {field}' for field in sheet.numbers)
        text = f"# Exercise {exercise.name}, hidden check {number}: {check.points} point{'s' * (check.points != 1)}"
        if version == "instructor":
            text += ("\n### BEGIN HIDDEN TESTS\nfrom shoplens.coursework.checking import hidden_check\n\n"
                     f'hidden_check("{exercise.name}", "{check.name}", {exercise.function}, {{{numbers}}})\n'
                     "### END HIDDEN TESTS")
        cells.append({"cell_type": "code", "execution_count": None, "id": f"h{short_hash(name)[:10]}",
                      "metadata": {"nbgrader": {"cell_type": "code", "grade": True, "grade_id": name, "locked": True,
                                                "points": check.points, "schema_version": 3, "solution": False,
                                                "task": False}},
                      "outputs": [], "source": text})
    return cells


def _as_file(book: dict, cells: list[dict]) -> str:
    """The notebook as nbformat writes it: keys in order, lines in lists."""
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    whole = {"cells": cells, "metadata": book["metadata"], "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def write(file: Path, text: str) -> None:
    """Write a notebook, its folder too; a file that says the same stays untouched."""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        paths.write_atomic(file, text.encode())
