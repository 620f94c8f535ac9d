"""nbgrader, where it is installed, takes the same files and gives honest submissions the same marks.

Collected only where nbgrader can be imported (coursework/requirements.txt).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coursework import submit
from shoplens import paths
from shoplens.coursework import build, grade
from shoplens.coursework.course import choose, load_course

SECRET = "a secret of sixteen characters or more"
WRONG = "def macc(correct, y):\n    return float(correct.mean())"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """nbgrader's course with notebook 02 generated."""
    into = tmp_path_factory.mktemp("nbgrader")
    build.build(choose(load_course(), "02"), into, "bazaar", [], "")
    (into / "secret").write_text(SECRET, encoding="utf-8")
    nbgrader(into / "nbgrader", "generate_assignment", "02", "--create")
    return into


def nbgrader(folder: Path, *arguments: str) -> str:
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]        # nbgrader calls alembic by its name
    library = [str(paths.root() / "lib"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PATH": os.pathsep.join(places), "PYTHONPATH": os.pathsep.join(library),
                                "COURSEWORK_SECRET": str(folder.parent / "secret")}
    ran = subprocess.run([sys.executable, "-m", "nbgrader", *arguments], cwd=folder, env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def cells(file: Path) -> dict[str, str]:
    book = json.loads(file.read_text(encoding="utf-8"))
    return {submit.named(cell): "".join(cell["source"]) for cell in book["cells"] if submit.named(cell)}


def test_what_nbgrader_gives_out_is_what_the_builder_gives_out(course):
    ours, theirs = (cells(course / place) for place in ("student/02.ipynb", "nbgrader/release/02/02.ipynb"))
    assert ours.keys() == theirs.keys()
    answers = {exercise.grade_id for exercise in load_course()["02"].exercises}
    different = {name for name in ours if ours[name].split() != theirs[name].split()}
    assert different <= answers, "stubs of answers name their exercise; all else is the same"


def test_honest_submissions_get_the_same_marks(course, made):
    given, solved = made("student", "02"), cells(course / "solution" / "02.ipynb")
    answers = {exercise.grade_id: solved[exercise.grade_id] for exercise in load_course()["02"].exercises}
    books = {"nothing": given, "right": given, "wrong": given}
    for student, changed in (("right", answers), ("wrong", answers | {"02_1": WRONG})):
        for name, text in changed.items():
            books[student] = submit.answer(books[student], text, name)
    paper, ours = grade.Paper.of(load_course()["02"], "bazaar", SECRET, False), {}
    for student, book in books.items():
        folder = submit.hand_in(course / "nbgrader" / "submitted" / student / "02", book)
        ours[student] = {r.exercise.grade_id: r.points for r in paper.grade(student, folder) if r.exercise.function}
    nbgrader(course / "nbgrader", "autograde", "02")

    from nbgrader.api import Gradebook
    theirs = {}
    with Gradebook(f"sqlite:///{course / 'nbgrader' / 'gradebook.db'}") as book:
        for submission in book.assignment_submissions("02"):
            marks = theirs.setdefault(submission.student.id, dict.fromkeys(ours["right"], 0.0))
            for one in submission.notebooks[0].grades:
                if one.name.count("_") > 1:
                    marks[one.name[:4]] += one.auto_score
    assert theirs == ours
    assert list(ours["right"].values()) == [3, 2, 2]
    assert ours["wrong"]["02_1"] == 0


def test_validate_runs_what_students_see(course):
    assert "Success" in nbgrader(course, "validate", "solution/02.ipynb")
