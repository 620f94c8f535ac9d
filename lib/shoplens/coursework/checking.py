"""What coursework/checks/cNN.py are made of: hidden checks that draw their own numbers, and the wrong programs that
each must catch."""

import copy
import hashlib
import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from shoplens.coursework.course import folder
from shoplens.errors import StudyError

VISIBLE = "visible"     # name of the check that students see


@dataclass(frozen=True)
class Check:
    """One thing that an answer must get right, worth `points`, all or nothing.

    name: of the misconception. says: what feedback tells who fails; it names the misconception, never the input.
    draw: generator → arguments of one call; several take turns. cases: how often it is
    drawn. calls: arguments of calls that are always the same, instead of draw; numbers: names of the notebook's numbers
    to call with, instead of draw. judge: (value, *arguments) → bool, for answers of which many are right; otherwise the
    oracle is asked. pure: the arguments must come back as they were.
    """

    name: str
    points: int
    says: str
    draw: Callable[[np.random.Generator], tuple] | tuple[Callable, ...] = ()
    cases: int = 4
    judge: Callable[..., bool] | None = None
    pure: bool = False
    calls: tuple[tuple, ...] = ()
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mutant:
    """A wrong program and the names of the checks that it must fail, whatever the secret. may: those it fails for some
    draws and passes for others; all the rest it must pass."""

    name: str
    program: Callable
    fails: tuple[str, ...]
    may: tuple[str, ...] = ()

    def as_declared(self, failed: set[str]) -> bool:
        """Are these the checks that it has to fail?"""
        return set(self.fails) <= failed <= {*self.fails, *self.may}


@dataclass(frozen=True)
class Task:
    """Checks of one exercise. oracle: arguments → right answer, None where every check has a judge of its own."""

    oracle: Callable | None
    checks: tuple[Check, ...]
    mutants: tuple[Mutant, ...]
    tolerance: float = 1e-6


@dataclass(frozen=True)
class Answer:
    """What came back from one call: the value and the arguments after it, or `error`, in words."""

    value: object = None
    arguments: tuple = ()
    error: str = ""


@dataclass
class Mark:
    """One check's outcome. why: "" where it was passed."""

    check: Check
    why: str = ""

    @property
    def points(self) -> int:
        return 0 if self.why else self.check.points


@dataclass
class Case:
    """One call to make, for the check at that position."""

    check: int
    arguments: tuple = field(default_factory=tuple)


def load_tasks(sheet: str, where: Path | None = None) -> dict[str, Task]:
    """Exercise → Task, of coursework/checks/cNN.py."""
    file = (where or folder() / "checks") / f"c{sheet}.py"
    if not file.exists():
        raise StudyError(f"coursework {sheet} has no checks: there is no {file.name}")
    spec = importlib.util.spec_from_file_location(f"coursework_c{sheet}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.TASKS


def draw_cases(exercise: str, task: Task, secret: str, numbers: dict[str, object]) -> list[Case]:
    """All calls of an exercise, the same for the same secret."""
    cases = []
    for position, check in enumerate(task.checks):
        if check.numbers:
            cases.append(Case(position, tuple(numbers[name] for name in check.numbers)))
            continue
        cases += [Case(position, copy.deepcopy(call)) for call in check.calls]
        draws = check.draw if isinstance(check.draw, tuple) else (check.draw,)
        for number in range(0 if check.calls else check.cases):
            digest = hashlib.sha256(f"{secret}|{exercise}|{check.name}|{number}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(digest[:16], "big"))
            cases.append(Case(position, tuple(draws[number % len(draws)](rng))))
    return cases


def mark(task: Task, cases: Sequence[Case], answers: Sequence[Answer]) -> list[Mark]:
    """A Mark per check, from the answers to all cases; the first answer that is wrong says why."""
    marks = [Mark(check) for check in task.checks]
    for case, answer in zip(cases, answers, strict=True):
        one = marks[case.check]
        one.why = one.why or _wrong(task, one.check, case.arguments, answer)
    return marks


def _wrong(task: Task, check: Check, arguments: tuple, answer: Answer) -> str:
    if answer.error:
        return answer.error
    if check.pure and _differs(answer.arguments, arguments, 0.0):
        return check.says
    if check.judge is not None:
        try:
            return "" if check.judge(answer.value, *copy.deepcopy(arguments)) else check.says
        except Exception:       # an answer of any shape may come back; what the judge cannot read is wrong
            return f"{check.says} (what came back has not the form that was asked for)"
    found = _differs(answer.value, task.oracle(*copy.deepcopy(arguments)), task.tolerance)
    return check.says if found == "differs" else f"{check.says} ({found})" if found else ""


def _differs(value: object, expected: object, tolerance: float) -> str:
    """"" where both are the same within the tolerance; "differs", or in words what is wrong with its form."""
    if isinstance(expected, tuple | list):
        if not isinstance(value, tuple | list) or len(value) != len(expected):
            return f"{len(expected)} things are to be returned"
        return next((found for one, other in zip(value, expected, strict=True)
                     if (found := _differs(one, other, tolerance))), "")
    if isinstance(expected, dict):
        same = isinstance(value, dict) and value.keys() == expected.keys()
        return "" if same and not any(_differs(value[key], expected[key], tolerance) for key in value) else "differs"
    if expected is None or isinstance(expected, str):
        return "" if value == expected else "differs"
    if value is None or isinstance(value, str | dict):
        return f"it returns {'nothing' if value is None else type(value).__name__}"
    value, expected = np.asarray(value), np.asarray(expected)
    if value.shape != expected.shape:
        return f"it returns shape {value.shape} where {expected.shape} is asked for"
    kinds = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}.get(expected.dtype.kind, expected.dtype.kind)
    if value.dtype.kind not in kinds and value.size:
        return f"it returns {value.dtype} where {expected.dtype} is asked for"
    if expected.dtype.kind == "f":
        same = np.allclose(value.astype(float), expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    else:
        same = np.array_equal(value, expected)
    return "" if same else "differs"


def answer_here(program: Callable, cases: Sequence[Case]) -> list[Answer]:
    """Answers of a program that can be trusted, called in this process."""
    answers = []
    for case in cases:
        arguments = copy.deepcopy(case.arguments)
        try:
            with np.errstate(all="ignore"):
                answers.append(Answer(program(*arguments), arguments))
        except Exception as error:
            answers.append(Answer(error=f"it raises {type(error).__name__}"))
    return answers


def hidden_check(exercise: str, name: str, program: Callable, numbers: dict[str, object]) -> None:
    """One hidden check, for nbgrader's cells. AssertionError with what the check says.

    The secret is read from the file that COURSEWORK_SECRET names. Here the program runs in the same process as its
    check: what can be trusted is the mark of `make grade`.
    """
    file = os.environ.get("COURSEWORK_SECRET")
    secret = Path(file).read_text(encoding="utf-8").strip() if file else ""
    task = load_tasks(exercise.split(".")[0])[exercise]
    cases = [case for case in draw_cases(exercise, task, secret, numbers) if task.checks[case.check].name == name]
    marks = mark(task, cases, answer_here(program, cases))
    why = next(one.why for one in marks if one.check.name == name)
    assert not why, why
