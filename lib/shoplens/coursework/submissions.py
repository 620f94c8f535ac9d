"""What students hand in: answers found in a notebook, whatever happened to its cells."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path

from shoplens.coursework.course import Exercise, Sheet
from shoplens.coursework.worker import without_magic
from shoplens.errors import StudyError


@dataclass
class Found:
    """What answers one exercise. cells: texts to execute, in order, as the worker wants them. text: of a written
    answer. notes: what was odd. missing: why there is nothing to grade."""

    cells: list[dict] = field(default_factory=list)
    text: str = ""
    notes: list[str] = field(default_factory=list)
    missing: str = ""


def submitted(folder: Path) -> dict[str, Path]:
    """Student → folder. StudyError where there is none."""
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")} \
        if folder.is_dir() else {}
    if not found:
        raise StudyError(f"SUBMITTED={folder}: it holds a folder for each student, with 02.ipynb and so on in it")
    return found


def notebook_of(folder: Path, sheet: Sheet) -> Path | None:
    """The student's file of a notebook, also where nbgrader collected it (02/02.ipynb)."""
    return next((file for file in (folder / f"{sheet.name}.ipynb", folder / sheet.name / f"{sheet.name}.ipynb")
                 if file.is_file()), None)


def read_cells(file: Path) -> list[dict]:
    """Cells of a notebook, each {"type", "text", "grade_id"}. StudyError for a file that is no notebook."""
    if file.stat().st_size > 64 * 2**20:
        raise StudyError(f"{file.name} is larger than 64 MiB")
    try:
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        return [{"type": str(cell["cell_type"]), "text": _joined(cell["source"]), "grade_id": _grade_id(cell)}
                for cell in cells]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StudyError(f"{file.name} cannot be read as a notebook ({type(error).__name__})") from None


def _joined(source) -> str:
    return source if isinstance(source, str) else "".join(map(str, source))


def _grade_id(cell: dict) -> str:
    metadata = cell.get("metadata")
    own = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return str(own.get("grade_id", "")) if isinstance(own, dict) else ""


def find_answer(cells: list[dict], exercise: Exercise, known: set[str], prelude: list[str]) -> Found:
    """The answer to one exercise and what stands before it.

    known: grade_ids of the notebook's own cells, of which students write the answers only. prelude: the notebook's own
    cells before the exercises, as they were given out: what a student did to them does not count.
    """
    found = Found()
    at = [number for number, cell in enumerate(cells) if cell["grade_id"] == exercise.grade_id]
    if not exercise.function:
        found.text = "\n\n".join(cells[number]["text"] for number in at).strip()
        found.missing = "" if at else "its cell is gone"
        return found
    if not at:
        at = [number for number, cell in enumerate(cells) if defines(cell["text"], exercise.function)]
        found.notes += ["its cell had lost its name; found by the function's"] if at else []
    if not at:
        found.missing = f"no cell defines {exercise.function}"
        return found
    if len(at) > 1:
        found.notes.append(f"its cell is there {len(at)} times; the last definition counts")
    if any(cells[number]["type"] != "code" for number in at):
        found.notes.append("its cell was no code cell any more; read as code")
    found.cells = [{"text": text, "own": False} for text in prelude]
    answers = {e for e in known if e.count("_") == 1 and e.split("_")[1].isdigit()}
    for number, cell in enumerate(cells[:at[-1] + 1]):
        if number in at:
            found.cells.append({"text": cell["text"], "own": True})
        elif cell["type"] == "code" and (cell["grade_id"] not in known or cell["grade_id"] in answers):
            found.cells.append({"text": cell["text"], "own": False})
    return found


def defines(text: str, function: str) -> bool:
    """Does the text, as code, define that function at its top level?"""
    try:
        body = ast.parse(without_magic(text)).body
    except (SyntaxError, ValueError, RecursionError):
        return False
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in body)
