"""`make grade`: marks, a page of feedback a student, and which checks fail how often.

A student's program runs in a worker that knows no right answer; answers are compared here. Two workers at a time.
"""

import argparse
import csv
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from shoplens import paths
from shoplens.coursework.checking import Answer, Mark, Task, draw_cases, load_tasks, mark
from shoplens.coursework.course import Exercise, Sheet, choose, load_course, numbers_of, read_roster
from shoplens.coursework.feedback import write_pages
from shoplens.coursework.sandbox import Limits, Outcome, ask, check_sandbox
from shoplens.coursework.submissions import Found, find_answer, notebook_of, read_cells, submitted
from shoplens.coursework.versions import grade_id, prelude, read_source
from shoplens.errors import StudyError

NOT_ANSWERED = "not answered"       # what a worker says of NotImplementedError


@dataclass
class Result:
    """One exercise of one student. points: None where it could not be graded, or waits to be read; `notes` say why."""

    exercise: Exercise
    points: float | None = None
    marks: list[Mark] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    text: str = ""


@dataclass(frozen=True)
class Paper:
    """What stays the same for all submissions of a notebook: its tasks, and the ids of the cells given out."""

    sheet: Sheet
    tasks: dict[str, Task]
    book: dict
    dataset: str
    secret: str
    personal: bool

    @classmethod
    def of(cls, sheet: Sheet, dataset: str, secret: str, personal: bool) -> "Paper":
        return cls(sheet, load_tasks(sheet.name), read_source(sheet), dataset, secret, personal)

    def known(self) -> set[str]:
        """Ids of the cells a student was given."""
        own = {grade_id(cell) for cell in self.book["cells"]} - {""}
        return own | {f"{e.grade_id}_hidden_{n}" for e in self.sheet.functions
                      for n in range(1, len(self.tasks[e.name].checks))}

    def grade(self, student: str, folder: Path, sandbox: str = "", limits: Limits | None = None) -> list[Result]:
        """Results of all exercises. A notebook that is not there or cannot be read gives none, and says so."""
        file = notebook_of(folder, self.sheet)
        try:
            if file is None:
                raise StudyError(f"{self.sheet.name}.ipynb was not handed in")
            cells = read_cells(file)
        except StudyError as error:
            return [Result(exercise, notes=[str(error)]) for exercise in self.sheet.exercises]
        numbers = numbers_of(self.sheet, self.dataset, student if self.personal else "")
        before = prelude(self.book, self.sheet, numbers)
        results = []
        for exercise in self.sheet.exercises:
            found = find_answer(cells, exercise, self.known(), before)
            if exercise.function:
                results.append(self._run(exercise, found, numbers, sandbox, limits))
            else:
                results.append(Result(exercise, notes=[found.missing or "waits to be read"], text=found.text))
        return results

    def _run(self, exercise: Exercise, found: Found, numbers: dict, sandbox: str, limits: Limits | None) -> Result:
        result = Result(exercise, notes=list(found.notes))
        if found.missing:
            result.points = 0
            result.notes.append(found.missing)
            return result
        task = self.tasks[exercise.name]
        cases = draw_cases(exercise.name, task, self.secret, numbers)
        calls = [case.arguments for case in cases]
        outcome = ask(found.cells, exercise.function, calls, sandbox=sandbox, limits=limits)
        if _misses_a_name(outcome):     # perhaps made by code beside the answer that is no definition
            again = ask(found.cells, exercise.function, calls, sandbox=sandbox, limits=limits, whole=True)
            outcome = again if not (_misses_a_name(again) or again.trouble) else outcome
        if outcome.trouble:
            result.notes.append(f"could not be graded: {outcome.trouble}")
            return result
        result.notes += [text for text in (outcome.failed, outcome.broken) if text and text != NOT_ANSWERED]
        rest = outcome.failed or outcome.broken or "no answer came back"
        answers = list(outcome.answers)[:len(cases)]
        answers += [Answer(error=rest)] * (len(cases) - len(answers))
        if all(answer.error == NOT_ANSWERED for answer in answers):
            result.points = 0
            result.notes.append(NOT_ANSWERED)
            return result
        result.marks = mark(task, cases, answers)
        result.points = sum(one.points for one in result.marks)
        return result


def _misses_a_name(outcome: Outcome) -> bool:
    texts = [outcome.failed, *(answer.error for answer in outcome.answers)]
    return any("NameError" in text for text in texts)


def grade_all(papers: list[Paper], students: dict[str, Path], sandbox: str,
              workers: int = 2) -> dict[str, list[Result]]:
    """Student → results of all notebooks."""
    with ThreadPoolExecutor(workers) as pool:
        jobs = {(student, paper.sheet.name): pool.submit(paper.grade, student, folder, sandbox)
                for student, folder in students.items() for paper in papers}
        return {student: [result for paper in papers for result in jobs[student, paper.sheet.name].result()]
                for student in students}


def add_written(results: dict[str, list[Result]], file: Path) -> None:
    """Enter the points of written answers from a CSV: student, exercise, points. StudyError for what does not fit."""
    with open(file, encoding="utf-8-sig", newline="") as text:
        rows = [row for row in csv.DictReader(text) if (row.get("points") or "").strip()]
    for row in rows:
        one = next((r for r in results.get(row["student"], []) if r.exercise.name == row["exercise"]
                    and not r.exercise.function), None)
        if one is None:
            raise StudyError(f"{file}: {row['student']}, {row['exercise']}: no such written answer was handed in")
        try:
            points = float(row["points"])
        except ValueError:
            points = -1.0
        if not 0 <= points <= one.exercise.points:
            raise StudyError(f"{file}: {row['student']}, {row['exercise']}: {row['points']} is no number from 0 to "
                             f"{one.exercise.points}")
        one.points, one.notes = points, []


def write_tables(results: dict[str, list[Result]], into: Path) -> None:
    """grades.csv, checks.csv (which check fails how often) and written.csv (answers to read, points to fill in)."""
    exercises = [result.exercise for result in next(iter(results.values()))]
    rows = []
    for student, own in results.items():
        graded = [r.points for r in own if r.points is not None]
        rows.append([student, *(_number(r.points) for r in own), _number(sum(graded)),
                     " ".join(r.exercise.name for r in own if r.points is None),
                     _notes(own)])
    _csv(into / "grades.csv", ["student", *(e.name for e in exercises), "points", "not graded", "notes"], rows)
    counts: dict[tuple[str, str], list] = {}
    for own in results.values():
        for result in own:
            for one in result.marks:
                found = counts.setdefault((result.exercise.name, one.check.name), [one.check, 0, 0])
                found[1] += 1
                found[2] += bool(one.why)
    _csv(into / "checks.csv", ["exercise", "check", "points", "graded", "failed", "share failed", "what it asks"],
         [[exercise, name, check.points, graded, failed, f"{failed / graded:.2f}", check.says]
          for (exercise, name), (check, graded, failed) in counts.items()])
    _csv(into / "written.csv", ["student", "exercise", "points", "of", "answer"],
         [[student, r.exercise.name, _number(r.points), r.exercise.points, _harmless(r.text)]
          for student, own in results.items() for r in own if not r.exercise.function])


def _harmless(text: str) -> str:
    """An answer that a spreadsheet takes for text, not for a formula of its own."""
    return f" {text}" if text.startswith(("=", "+", "-", "@")) else text


def _notes(results: list[Result]) -> str:
    """Each note once, behind the exercises it is about."""
    about: dict[str, list[str]] = {}
    for result in results:
        for note in result.notes:
            about.setdefault(note, []).append(result.exercise.name)
    return "; ".join(f"{' '.join(names)}: {note}" for note, names in about.items())


def _number(points: float | None) -> str:
    return "" if points is None else f"{points:g}"


def _csv(file: Path, header: list[str], rows: list[list]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([header, *rows])


def main(arguments: list[str] | None = None) -> int:
    """The command line; 2 for what the user must put right."""
    parser = argparse.ArgumentParser(prog="make grade")
    parser.add_argument("--submitted", default="", help="folder with a folder for each student")
    parser.add_argument("--secret", default="", help="file whose text seeds the hidden checks")
    parser.add_argument("--sandbox", default="", help="docker, podman or bwrap")
    parser.add_argument("--only", default="")
    parser.add_argument("--dataset", default="bazaar")
    parser.add_argument("--roster", default="", help="as given to make coursework")
    parser.add_argument("--written", default="", help="written.csv with points filled in")
    parser.add_argument("--into", default="", help="folder for tables and pages instead of build/grades")
    given = parser.parse_args(arguments)
    try:
        if not given.submitted or not given.secret:
            raise StudyError("say what to grade and with which secret: make grade SUBMITTED=folder SECRET=file")
        students, secret = submitted(Path(given.submitted)), read_secret(Path(given.secret))
        if given.roster:
            names = read_roster(Path(given.roster))
            if strangers := sorted(set(students) - set(names)):
                raise StudyError(f"{given.roster} does not name {', '.join(strangers)}, who handed in: their numbers "
                                 "follow from their line there")
            students = {name: Path(given.submitted) / name for name in names}
        check_sandbox(given.sandbox)
        papers = [Paper.of(sheet, given.dataset, secret, bool(given.roster))
                  for sheet in choose(load_course(), given.only)
                  if given.only or any(notebook_of(folder, sheet) for folder in students.values())]
        if not papers:
            raise StudyError(f"SUBMITTED={given.submitted}: no folder in it holds a notebook such as 02.ipynb")
        results = grade_all(papers, students, given.sandbox)
        if given.written:
            add_written(results, Path(given.written))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    into = Path(given.into) if given.into else paths.root() / "build" / "grades"
    write_tables(results, into)
    write_pages(results, into / "feedback")
    print(f"{len(students)} students, notebooks {' '.join(p.sheet.name for p in papers)}: "
          f"grades.csv, checks.csv, written.csv and feedback/ in {os.path.relpath(into)}")
    if not given.sandbox:
        print("graded without a sandbox: programs ran as you and could read your files (SANDBOX=docker, podman, bwrap)")
    return 0


def read_secret(file: Path) -> str:
    """Text of the secret's file; StudyError where it is missing or too short to be one."""
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError:
        raise StudyError(f"SECRET={file} cannot be read; make one: python -c 'import secrets; "
                         f"print(secrets.token_hex())' > {file}") from None
    if len(secret) < 16:
        raise StudyError(f"SECRET={file} is too short to be one: at least 16 characters")
    return secret


if __name__ == "__main__":
    sys.exit(main())
