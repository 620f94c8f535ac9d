"""The grader gives honest work its marks, and hostile work the marks written down here beforehand."""

import csv
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from coursework import submit
from shoplens.coursework import grade, sandbox
from shoplens.coursework.course import load_course, numbers_of
from shoplens.coursework.sandbox import Limits
from shoplens.errors import StudyError

SECRET = "a secret of sixteen characters or more"
SHORT = Limits(seconds=1, patience=30.0)
RIGHT = ("def macc(correct, y):\n"
         "    return float(np.mean([correct[y == c].mean() for c in np.unique(y)]))\n")


def acting(line: str) -> str:
    """A right answer that does something else first."""
    return RIGHT.replace("    return", f"    {line}\n    return")


def written(line: bytes) -> str:
    """A cell that writes to every open file, among them the pipe that answers go through."""
    return ("import os\nfor n in range(3, 30):\n    try:\n"
            f"        os.write(n, {line!r})\n    except OSError:\n        pass\n")


# What is handed in as 02.1 → its points of 3, and what must be said.
ANSWERS = {
    "right": (RIGHT, 3, ""),
    "warns": (acting("import warnings, sys; warnings.warn('careful'); print('so', file=sys.stderr)"), 3, ""),
    "prints all the time": (acting("print('x' * 2**24)"), 3, ""),
    "checks itself": (RIGHT + "\nassert macc(np.array([True]), np.array([0])) == 1\nprint(macc.__name__)", 3, ""),
    "uses magic": ("%matplotlib inline\n!pip list\n" + RIGHT, 3, ""),
    "asserts patched": ("np.testing.assert_allclose = np.isclose = np.allclose = lambda *a, **k: True\n"
                        "def macc(correct, y):\n    return 0.25", 0, ""),
    "exits": (acting("import os; os._exit(0)"), 0, "ended its own process"),
    "leaves": (acting("raise SystemExit"), 0, "SystemExit in line 2"),
    "does not come to an end": (acting("while True: pass"), 0, "took more than 1 seconds"),
    "no end in the cell": (RIGHT + "\nwhile True: pass", 0, "took more than 1 seconds"),
    "takes all memory": (acting("hog = [np.empty(2**24) for _ in range(64)]"), 0, "MemoryError in line 2"),
    "returns too much": ("def macc(correct, y):\n    return np.zeros(4_000_000)", 0, "returns more than 16 MiB"),
    "equal to everything": ("class Yes(float):\n    def __eq__(self, other): return True\n    __hash__ = None\n"
                            "def macc(correct, y):\n    return Yes(0)", 0, "returns a Yes"),
    "fake array": ("class Fake(np.ndarray):\n    pass\ndef macc(correct, y):\n    return np.zeros(()).view(Fake)", 0,
                   "returns a Fake"),
    "array of objects": ("def macc(correct, y):\n    return np.array([macc], object)", 0, "array of objects"),
    "kills its parent's group": ("import os\nos.killpg(os.getpgid(os.getppid()), 9)\n" + RIGHT, 0,
                                 "killed the process"),
    "kills itself": (acting("import os; os.kill(os.getpid(), 11)"), 0, "ended its own process"),
    # It earns the point of the visible check, whose number everybody knows.
    "writes answers itself": (written(b'{"value": {"float": "0x1p-1"}, "after": null}\n' * 40 + b'{"done": true}\n')
                              + "os._exit(0)", 1, ""),
    "writes what is no answer": (written(b'{"value": {"array": "AAAA"}, "after": 1}\n[[[\n') + RIGHT, 0,
                                 "cannot be read"),
    "asks the library": ("from shoplens.statistics.accuracy import macc", 0, "shoplens is not there"),
    "changes what it is given": (acting("correct[:] = correct[::-1].copy(); correct[:] = correct[::-1].copy(); y += 0; "
                                        "y[0] = y[0]"), 3, ""),
    "no Python": ("def macc(correct, y) return 1", 0, "SyntaxError in line 1"),
    "no function": ("macc = 0.5", 0, "there is no function macc"),
    "recursion": ("def macc(correct, y):\n    return macc(correct, y)", 0, "RecursionError"),
    "one misconception": ("def macc(correct, y):\n    n = y.max() + 1\n"
                          "    return float(sum(correct[y == c].mean() for c in set(y.tolist())) / n)", 2, ""),
}


@pytest.fixture(scope="module")
def paper():
    return grade.Paper.of(load_course()["02"], "bazaar", SECRET, False)


@pytest.fixture(scope="module")
def solved(made):
    return made("solution", "02")


def alone(paper):
    """The paper with 02.1 as its only exercise."""
    return replace(paper, sheet=replace(paper.sheet, exercises=paper.sheet.exercises[:1]))


def points(results) -> list:
    return [result.points for result in results if result.exercise.function]


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_gets_the_mark_written_down_for_it(tmp_path, paper, solved, name):
    text, expected, said = ANSWERS[name]
    results = alone(paper).grade("ann", submit.hand_in(tmp_path, submit.answer(solved, text)), limits=SHORT)
    assert points(results) == [expected]
    assert said in " ".join([*results[0].notes, *(one.why for one in results[0].marks)])


@pytest.mark.parametrize("name", ["exits", "does not come to an end", "takes all memory", "kills its parent's group"])
def test_a_hostile_answer_costs_its_own_exercise_alone(tmp_path, paper, solved, name):
    results = paper.grade("ann", submit.hand_in(tmp_path, submit.answer(solved, ANSWERS[name][0])), limits=SHORT)
    assert points(results) == [0, 2, 2]


def test_a_program_that_sleeps_is_not_waited_for(tmp_path, paper, solved):
    book = submit.answer(solved, acting("import time; time.sleep(600)"))
    results = alone(paper).grade("ann", submit.hand_in(tmp_path, book), limits=Limits(seconds=1, patience=3.0))
    assert points(results) == [0]
    assert "more than 3 seconds by the clock" in results[0].notes[0]


def test_untouched_notebooks_get_nothing_and_solutions_everything(tmp_path, made):
    papers = [grade.Paper.of(sheet, "bazaar", SECRET, False) for sheet in load_course().values()]
    for own in papers:
        for version in ("student", "solution"):
            submit.hand_in(tmp_path / version, made(version, own.sheet.name), own.sheet.name)
    results = grade.grade_all(papers, {version: tmp_path / version for version in ("student", "solution")}, "")
    written = [r.points for own in results.values() for r in own if not r.exercise.function]
    assert written == [None] * 2 * len(papers), "waits to be read, is not 0"
    functions = [exercise for own in papers for exercise in own.sheet.functions]
    assert points(results["solution"]) == [exercise.points for exercise in functions]
    assert [(r.points, r.notes) for r in results["student"] if r.exercise.function] == [
        (0, ["not answered"])] * len(functions)


ALTERED = {
    "duplicated": (lambda cells, i: [*cells[:i + 1], cells[i], *cells[i + 1:]], [3, 2, 2], "there 2 times"),
    "duplicated behind": (lambda cells, i: [*cells, cells[i]], [3, 2, 2], "there 2 times"),
    "deleted": (lambda cells, i: [*cells[:i], *cells[i + 1:]], [0, 2, 2], "no cell defines macc"),
    "retyped": (lambda cells, i: [*cells[:i], cells[i] | {"cell_type": "markdown"}, *cells[i + 1:]], [3, 2, 2],
                "no code cell any more"),
    "metadata stripped": (lambda cells, i: [cell | {"metadata": {}} for cell in cells], [3, 2, 2], "lost its name"),
    "metadata gone": (lambda cells, i: [cell | {"metadata": None} for cell in cells], [3, 2, 2], "lost its name"),
    "tests deleted": (lambda cells, i: [cell for cell in cells if "visible" not in submit.named(cell)], [3, 2, 2], ""),
    "numbers rewritten": (lambda cells, i: [cell | {"source": "IMAGES = 0\nCLASSES = 0"} if submit.named(cell)
                                            == "02_numbers" else cell for cell in cells], [3, 2, 2], ""),
}


@pytest.mark.parametrize("name", ALTERED)
def test_altered_cells_cost_what_is_written_down(tmp_path, paper, solved, name):
    change, expected, said = ALTERED[name]
    book = submit.altered(solved, lambda cells: change(cells, submit.at(solved)))
    results = paper.grade("ann", submit.hand_in(tmp_path, book), limits=SHORT)
    assert points(results) == expected
    assert said in " ".join(results[0].notes)


@pytest.mark.parametrize(("content", "said"), [
    ('{"cells": [', "cannot be read as a notebook"), ("[]", "cannot be read as a notebook"),
    ('{"cells": [7]}', "cannot be read as a notebook"), (b"\xff\xfe", "cannot be read as a notebook"),
    ("[" * 100_000, "cannot be read as a notebook")])
def test_what_is_no_notebook_is_not_graded_and_said(tmp_path, paper, content, said):
    results = paper.grade("ann", submit.hand_in(tmp_path, content))
    assert points(results) == [None] * 3
    assert all(said in result.notes[0] for result in results)
    assert "was not handed in" in paper.grade("bo", tmp_path / "nothing")[0].notes[0]


def test_helpers_of_the_student_are_there_and_other_cells_do_no_harm(tmp_path, paper, solved):
    uses = "def macc(correct, y):\n    return float(np.mean([share(correct, y, c) for c in np.unique(y)]))"
    helper = "def share(correct, y, c):\n    return correct[y == c].mean()\nwhile True: pass"
    book = submit.before(submit.answer(solved, uses), helper)
    assert points(paper.grade("ann", submit.hand_in(tmp_path, book), limits=SHORT)) == [3, 2, 2]
    made = submit.before(submit.answer(solved, uses.replace("share(", "table['share'](")),
                         "table = {}\ntable['share'] = lambda correct, y, c: correct[y == c].mean()\n1 / 0")
    assert points(paper.grade("ann", submit.hand_in(tmp_path, made), limits=SHORT)) == [3, 2, 2]


def test_nothing_that_a_program_started_outlives_it(tmp_path, paper, solved):
    stays = ("import os, time\n"
             "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(100)\n    os._exit(0)\n")
    results = paper.grade("ann", submit.hand_in(tmp_path, submit.answer(solved, stays + RIGHT)), limits=SHORT)
    assert points(results)[1:] == [2, 2]
    left = [p for p in psutil.process_iter() if p.pid != os.getpid() and sandbox.MARKER in _environment(p)]
    assert left == []


def _environment(process) -> dict:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def test_a_worker_is_told_no_right_answer(monkeypatch, tmp_path, paper, solved):
    """What goes into a worker: cells, arguments and limits."""
    folder, sent = submit.hand_in(tmp_path, solved), []
    original = sandbox.json.dumps
    monkeypatch.setattr(sandbox.json, "dumps", lambda value: sent.append(value) or original(value))
    paper.grade("ann", folder, limits=SHORT)
    assert len(sent) == 3
    assert all(set(one) == {"cells", "function", "whole", "seconds", "memory", "output", "calls"} for one in sent)
    assert not any("assert" in cell["text"] for one in sent for cell in one["cells"])


def graded(tmp_path, monkeypatch, capsys, *arguments) -> tuple[int, str]:
    monkeypatch.setenv("STUDY_ROOT", str(Path(__file__).parents[2]))
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    code = grade.main(["--submitted", str(tmp_path / "in"), "--secret", str(tmp_path / "secret"),
                       "--into", str(tmp_path / "grades"), *arguments])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_tables_and_pages_of_three_students(tmp_path, monkeypatch, capsys, made, solved):
    submit.hand_in(tmp_path / "in" / "ann", solved)
    book = submit.answer(solved, ANSWERS["one misconception"][0])
    book = submit.answer(book, "<script>alert(1)</script>", "02_4")
    submit.hand_in(tmp_path / "in" / "bo", book)
    submit.hand_in(tmp_path / "in" / "cy", "{")
    code, told = graded(tmp_path, monkeypatch, capsys)
    assert code == 0, told
    with open(tmp_path / "grades" / "grades.csv", encoding="utf-8") as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert [rows["ann"][name] for name in ("02.1", "02.2", "02.3", "02.4", "points")] == ["3", "2", "2", "", "7"]
    assert [rows["bo"][name] for name in ("02.1", "points")] == ["2", "6"]
    assert rows["cy"]["02.1"] == ""
    assert "cannot be read" in rows["cy"]["notes"]
    with open(tmp_path / "grades" / "checks.csv", encoding="utf-8") as file:
        failed = {(row["exercise"], row["check"]): row["failed"] for row in csv.DictReader(file)}
    assert failed["02.1", "gaps"] == "1"
    assert failed["02.1", "visible"] == "0"
    page = (tmp_path / "grades" / "feedback" / "bo.html").read_text(encoding="utf-8")
    assert "A class without an image is left out of the mean" in page
    assert "<script>" not in page
    assert not re.search(r"array\(|\[\d", page), "no input is shown"

    written = (tmp_path / "grades" / "written.csv").read_text(encoding="utf-8")
    assert "<script>alert(1)</script>" in written
    (tmp_path / "read.csv").write_text("student,exercise,points\nann,02.4,2.5\nbo,02.4,\n", encoding="utf-8")
    code, told = graded(tmp_path, monkeypatch, capsys, "--written", str(tmp_path / "read.csv"))
    assert code == 0, told
    assert "ann,3,2,2,2.5,9.5" in (tmp_path / "grades" / "grades.csv").read_text(encoding="utf-8")
    (tmp_path / "read.csv").write_text("student,exercise,points\nann,02.4,5\n", encoding="utf-8")
    code, told = graded(tmp_path, monkeypatch, capsys, "--written", str(tmp_path / "read.csv"))
    assert code == 2
    assert "5 is no number from 0 to 3" in told


def test_numbers_of_each_student_are_those_of_the_roster(tmp_path, monkeypatch, capsys, made):
    sheet = load_course()["08"]
    (tmp_path / "roster.csv").write_text("student\nann\nbo\n", encoding="utf-8")
    for student in ("ann", "bo"):
        book = made("solution", "08", numbers=numbers_of(sheet, "bazaar", student))
        assert f"RELEVANT = {numbers_of(sheet, 'bazaar', student)['RELEVANT']} " in str(book)
        submit.hand_in(tmp_path / "in" / student, book, "08")
    code, told = graded(tmp_path, monkeypatch, capsys, "--roster", str(tmp_path / "roster.csv"))
    assert code == 0, told
    table = (tmp_path / "grades" / "grades.csv").read_text(encoding="utf-8")
    assert "ann,3,3,2,,8" in table
    assert "bo,3,3,2,,8" in table
    submit.hand_in(tmp_path / "in" / "zoe", "{}")
    code, told = graded(tmp_path, monkeypatch, capsys, "--roster", str(tmp_path / "roster.csv"))
    assert code == 2
    assert "does not name zoe" in told


def test_a_written_answer_is_no_formula_of_a_spreadsheet(tmp_path, paper, solved):
    written = replace(paper, sheet=replace(paper.sheet, exercises=paper.sheet.exercises[3:]))
    results = written.grade("ann", submit.hand_in(tmp_path, submit.answer(solved, "=1+1", "02_4")))
    grade.write_tables({"ann": results}, tmp_path / "grades")
    with open(tmp_path / "grades" / "written.csv", encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["answer"] == " =1+1"


def test_what_cannot_be_graded_with_says_why(tmp_path, monkeypatch, capsys):
    code, told = graded(tmp_path, monkeypatch, capsys)
    assert code == 2
    assert "a folder for each student" in told
    (tmp_path / "in" / "ann").mkdir(parents=True)
    assert "no folder in it holds a notebook" in graded(tmp_path, monkeypatch, capsys)[1]
    assert "it is one of docker, podman, bwrap" in graded(tmp_path, monkeypatch, capsys, "--sandbox", "jail")[1]
    (tmp_path / "short").write_text("abc", encoding="utf-8")
    with pytest.raises(StudyError, match="too short"):
        grade.read_secret(tmp_path / "short")


def test_a_worker_that_cannot_start_is_no_fault_of_the_student(monkeypatch, tmp_path, paper, solved):
    monkeypatch.setattr(sandbox, "command", lambda *arguments: ["/bin/false"])
    result = paper.grade("ann", submit.hand_in(tmp_path, solved))[0]
    assert result.points is None
    assert "could not be graded" in result.notes[0]


def test_containers_get_no_network_no_rights_and_the_limits():
    for name in ("docker", "podman"):
        line = " ".join(sandbox.command(name, "one", Limits(), "/scratch"))
        for part in ("--network none", "--read-only", "--cap-drop ALL", f"--memory {2 * 2**30}", "--pids-limit 64",
                     "--user 65534:65534", "--cpus 1"):
            assert part in line
        assert "/scratch" not in line
    line = " ".join(sandbox.command("bwrap", "one", Limits(), "/scratch"))
    assert "--unshare-all" in line
    assert "--bind /scratch /tmp" in line


def test_ten_submissions_are_graded_in_seconds(tmp_path, paper, solved):
    """A hundred may take three minutes on a quiet machine; the bound is wider as this one may be busy."""
    started = time.monotonic()
    folders = {f"s{n}": submit.hand_in(tmp_path / f"s{n}", solved) for n in range(10)}
    found = grade.grade_all([paper], folders, "")
    assert [points(results) for results in found.values()] == [[3, 2, 2]] * 10
    assert time.monotonic() - started < 60
