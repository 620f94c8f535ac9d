"""Submissions of notebook 02, made from its solution: one answer replaced, or a cell altered."""

import copy
import json
from pathlib import Path


def answer(book: dict, text: str, exercise: str = "02_1") -> dict:
    """The notebook with another answer to an exercise."""
    book = copy.deepcopy(book)
    next(cell for cell in book["cells"] if named(cell) == exercise)["source"] = text
    return book


def before(book: dict, text: str, kind: str = "code") -> dict:
    """The notebook with a cell of the student's own before all exercises."""
    book = copy.deepcopy(book)
    book["cells"].insert(1, {"cell_type": kind, "metadata": {}, "source": text, "outputs": []})
    return book


def altered(book: dict, change) -> dict:
    """The notebook whose list of cells went through `change`."""
    book = copy.deepcopy(book)
    book["cells"] = change(book["cells"])
    return book


def named(cell: dict) -> str:
    """nbgrader's name of the cell."""
    return (cell["metadata"] or {}).get("nbgrader", {}).get("grade_id", "")


def at(book: dict, exercise: str = "02_1") -> int:
    """Position of an answer."""
    return next(i for i, cell in enumerate(book["cells"]) if named(cell) == exercise)


def hand_in(folder: Path, content: dict | str | bytes, name: str = "02") -> Path:
    """A student's folder with a notebook in it."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    (folder / f"{name}.ipynb").write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
