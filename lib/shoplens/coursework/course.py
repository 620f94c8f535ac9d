"""The list of exercises, coursework/course.yml, and the numbers that differ from one student to the next."""

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from shoplens import paths
from shoplens.errors import StudyError
from shoplens.strict_yaml import read_yaml

KINDS = {"R": "rebuild", "B": "bend", "K": "kill", "W": "write"}
OF_NOTEBOOK = {"study", "minutes", "numbers", "exercises"}
OF_EXERCISE = {"kind", "title", "points", "minutes", "needs", "function", "library", "hash"}


@dataclass(frozen=True)
class Exercise:
    """One exercise. name: "02.1". kind: a key of KINDS. function: what the student writes, "" where it is prose.
    library: dotted name of what an R exercise rebuilds, and code: the hash of its syntax tree when last looked at."""

    name: str
    kind: str
    title: str
    points: int
    minutes: int
    needs: str
    function: str
    library: str
    code: str

    @property
    def grade_id(self) -> str:
        """nbgrader's name of the cell that holds the answer."""
        return self.name.replace(".", "_")


@dataclass(frozen=True)
class Sheet:
    """A notebook of exercises. name: "02". study: the study's notebook it belongs to. numbers: name → its field in
    course.yml (`default`, and `from` and `to` or `catalogue`)."""

    name: str
    study: Path
    minutes: int
    numbers: dict[str, dict]
    exercises: tuple[Exercise, ...]

    @property
    def functions(self) -> list[Exercise]:
        """Exercises that are graded by running them."""
        return [exercise for exercise in self.exercises if exercise.function]


def folder() -> Path:
    """Where sources, checks, rubrics and texts are."""
    return paths.root() / "coursework"


def load_course(file: Path | None = None) -> dict[str, Sheet]:
    """Notebook's number → its Sheet, in the file's order. StudyError for what is missing or unknown."""
    file = file or folder() / "course.yml"
    content = read_yaml(file, "it lists the exercises of the coursework")
    return {name: _sheet(file.name, str(name), given) for name, given in content["notebooks"].items()}


def choose(course: dict[str, Sheet], only: str) -> list[Sheet]:
    """Sheets named in `only` ("02 08"), all where it is empty."""
    names = only.split()
    if unknown := [name for name in names if name not in course]:
        raise StudyError(f"ONLY={only}: there is no coursework for {', '.join(unknown)}; there is {' '.join(course)}")
    return [sheet for name, sheet in course.items() if not names or name in names]


def _sheet(file: str, name: str, given: dict) -> Sheet:
    where = f"{file}, notebook {name}"
    _only(where, given, OF_NOTEBOOK, OF_NOTEBOOK - {"numbers"})
    exercises = []
    for number, one in given["exercises"].items():
        _only(f"{where}, exercise {number}", one, OF_EXERCISE, {"kind", "title", "points", "minutes"})
        if one["kind"] not in KINDS or (one["kind"] == "W") == ("function" in one):
            raise StudyError(f"{file}, exercise {number}: kind is one of {', '.join(KINDS)}; all but W name a "
                             "function")
        if (one["kind"] == "R") != ("library" in one):
            raise StudyError(f"{file}, exercise {number}: R exercises, and no others, name what of the library "
                             "they rebuild")
        exercises.append(Exercise(str(number), one["kind"], one["title"], one["points"], one["minutes"],
                                  one.get("needs", ""), one.get("function", ""), one.get("library", ""),
                                  str(one.get("hash", ""))))
    return Sheet(name, Path(given["study"]), given["minutes"], given.get("numbers", {}), tuple(exercises))


def _only(where: str, given: dict, known: set[str], needed: set[str]) -> None:
    if unknown := sorted(set(given) - known):
        raise StudyError(f"{where}: {', '.join(unknown)} means nothing here; known are {', '.join(sorted(known))}")
    if missing := sorted(needed - set(given)):
        raise StudyError(f"{where}: {', '.join(missing)} is missing")


def numbers_of(sheet: Sheet, dataset: str, student: str = "") -> dict[str, object]:
    """Name → value for the notebook's cell of numbers: the defaults, or drawn from the student's name, and what the
    catalogue says where the field asks for it. The same student gets the same numbers on every machine."""
    values = {}
    for name, field in sheet.numbers.items():
        if "catalogue" in field:
            values[name] = _catalogue(dataset)[field["catalogue"]]
        elif student:
            digest = hashlib.sha256(f"{sheet.name}|{name}|{student}".encode()).digest()
            values[name] = field["from"] + int.from_bytes(digest[:8], "big") % (field["to"] - field["from"] + 1)
        else:
            values[name] = field["default"]
    return values


def _catalogue(dataset: str) -> dict[str, list]:
    """The largest categories of a catalogue: `names` and `images`, of equal length."""
    file = folder() / "fixtures" / f"{dataset}.json"
    if not file.exists():
        raise StudyError(f"there is no {file.relative_to(paths.root())}; once notebook 01 has run there, make it by "
                         f"`python -m shoplens.coursework.fixtures {dataset}`")
    return json.loads(file.read_text(encoding="utf-8"))


def read_roster(file: Path) -> list[str]:
    """Names of the students: the column `student` of a CSV. StudyError for what cannot name a folder."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except FileNotFoundError:
        raise StudyError(f"ROSTER={file}: there is no such file") from None
    if not rows or "student" not in rows[0]:
        raise StudyError(f"{file}: a roster has a column `student` and a line for each")
    names = [row["student"].strip() for row in rows]
    if wrong := [name for name in names if not re.fullmatch(r"[\w@+-][\w@.+ -]*", name)]:
        raise StudyError(f"{file}: {wrong[0]!r} cannot name a folder; letters, digits and . _ - @ + can")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"{file}: {twice[0]} stands there twice")
    return names
