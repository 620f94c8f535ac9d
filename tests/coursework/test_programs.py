"""Right programs get all points, and every wrong program loses the points it is declared to lose."""

import matplotlib
import pytest

from shoplens.coursework.checking import VISIBLE, answer_here, draw_cases, load_tasks, mark
from shoplens.coursework.course import numbers_of
from shoplens.coursework.versions import grade_id, read_source

SECRETS = ("one secret", "another")


@pytest.fixture
def solved(sheet, made):
    """Names that the solution version defines when it runs from top to bottom."""
    matplotlib.use("Agg")
    space = {"__name__": "__main__"}
    for cell in made("solution", sheet.name)["cells"]:
        if cell["cell_type"] == "code" and "plt.plot" not in cell["source"] and "plt.show" not in cell["source"]:
            exec(cell["source"], space)
    return space


def failed(task, cases, program):
    return {one.check.name for one in mark(task, cases, answer_here(program, cases)) if one.why}


@pytest.mark.parametrize("secret", SECRETS)
def test_solutions_pass_and_wrong_programs_lose_what_is_declared(sheet, solved, secret):
    tasks = load_tasks(sheet.name)
    assert set(tasks) == {exercise.name for exercise in sheet.functions}
    for exercise in sheet.functions:
        task = tasks[exercise.name]
        cases = draw_cases(exercise.name, task, secret, numbers_of(sheet, "bazaar"))
        assert failed(task, cases, solved[exercise.function]) == set(), exercise.name
        found = {mutant: failed(task, cases, mutant.program) for mutant in task.mutants}
        assert not [(m.name, lost, m.fails) for m, lost in found.items() if not m.as_declared(lost)], exercise.name


def test_every_check_catches_a_wrong_program_and_points_add_up(sheet):
    for exercise in sheet.functions:
        task = load_tasks(sheet.name)[exercise.name]
        assert [check.name for check in task.checks].count(VISIBLE) == 1
        assert {check.name for check in task.checks} == {name for mutant in task.mutants for name in mutant.fails}
        assert sum(check.points for check in task.checks) == exercise.points
        assert next(check.points for check in task.checks if check.name == VISIBLE) == 1
        assert len({mutant.name for mutant in task.mutants}) == len(task.mutants)
    assert sum(exercise.points for exercise in sheet.exercises) == 10
    assert sum(exercise.minutes for exercise in sheet.exercises) == sheet.minutes


def test_visible_cells_say_what_visible_checks_say(sheet, solved):
    """The asserts that students see fail for the same wrong programs as the check that is graded."""
    visible = {grade_id(cell): cell["source"] for cell in read_source(sheet)["cells"]}
    for exercise in sheet.functions:
        for mutant in load_tasks(sheet.name)[exercise.name].mutants:
            try:
                exec(visible[f"{exercise.grade_id}_{VISIBLE}"], solved | {exercise.function: mutant.program})
                passes = True
            except Exception:
                passes = False
            assert passes == (VISIBLE not in mutant.fails), f"{exercise.name}: {mutant.name}"


def test_hidden_cells_of_the_instructors_version_do_what_the_grader_does(sheet, solved, made, tmp_path, monkeypatch):
    """Those that nbgrader runs: they pass for the solution, and fail for wrong programs where the grader does."""
    (tmp_path / "secret").write_text(SECRETS[0], encoding="utf-8")
    monkeypatch.setenv("COURSEWORK_SECRET", str(tmp_path / "secret"))
    hidden = [cell["source"] for cell in made("instructor", sheet.name)["cells"] if "_hidden_" in grade_id(cell)]
    assert len(hidden) == sum(len(load_tasks(sheet.name)[e.name].checks) - 1 for e in sheet.functions)
    for text in hidden:
        exec(text, dict(solved))
    exercise = sheet.functions[0]
    mutant = load_tasks(sheet.name)[exercise.name].mutants[0]
    caught = []
    for text in hidden:
        try:
            exec(text, solved | {exercise.function: mutant.program})
        except AssertionError:
            caught.append(text)
    assert all(f'"{exercise.name}"' in text for text in caught)
    assert {name for name in mutant.fails if name != VISIBLE} <= {
        name for text in caught for name in (*mutant.fails, *mutant.may) if f'"{name}"' in text}


def test_another_secret_draws_other_numbers_and_the_same_one_the_same(sheet):
    numbers = numbers_of(sheet, "bazaar")
    for name, task in load_tasks(sheet.name).items():
        drawn = [str([case.arguments for case in draw_cases(name, task, secret, numbers)])
                 for secret in ("one secret", "one secret", "another")]
        assert drawn[0] == drawn[1] != drawn[2]
