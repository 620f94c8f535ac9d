"""Has the function changed that an exercise rebuilds? Its syntax tree is hashed when the exercise is accepted."""

import ast
import re
import sys
from pathlib import Path

from shoplens import paths
from shoplens.coursework.course import Exercise, folder, load_course
from shoplens.errors import StudyError
from shoplens.syntax import code_text, short_hash


def hash_of(exercise: Exercise) -> str:
    """Hash of the function or class that `exercise.library` names; StudyError where the library has none."""
    parts = exercise.library.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        file = paths.root().joinpath("lib", *parts[:cut]).with_suffix(".py")
        if file.exists():
            node = ast.parse(file.read_text(encoding="utf-8"))
            for name in parts[cut:]:
                node = next((child for child in node.body if getattr(child, "name", None) == name), None)
                if node is None:
                    break
            if node is not None:
                return short_hash(code_text(node))
    raise StudyError(f"{exercise.name} rebuilds {exercise.library}, which the library does not have any more")


def changed() -> list[str]:
    """A line for each exercise whose function is another than when it was accepted."""
    lines = []
    for exercise in (e for sheet in load_course().values() for e in sheet.exercises if e.library):
        try:
            if hash_of(exercise) != exercise.code:
                lines.append(f"{exercise.name} was written for another {exercise.library.split('.')[-1]} "
                             f"({exercise.library}): look whether exercise, checks and wrong programs still fit, then "
                             f"`make coursework-accept`")
        except StudyError as error:
            lines.append(str(error))
    return lines


def accept(file: Path | None = None) -> list[str]:
    """Write the hashes of today's functions into course.yml; names of the exercises that had another."""
    file = file or folder() / "course.yml"
    text, accepted = file.read_text(encoding="utf-8"), []
    for exercise in (e for sheet in load_course(file).values() for e in sheet.exercises if e.library):
        new = hash_of(exercise)
        if new != exercise.code:
            pattern = re.compile(rf'(^ *"{re.escape(exercise.name)}":.*?hash: ")[^"]*(")', re.DOTALL | re.MULTILINE)
            text, count = pattern.subn(rf"\g<1>{new}\g<2>", text, count=1)
            if not count:
                raise StudyError(f'{file.name}: exercise {exercise.name} has no `hash: "…"` to write to')
            accepted.append(exercise.name)
    paths.write_atomic(file, text.encode())
    return accepted


if __name__ == "__main__":
    print("accepted:", " ".join(accept()) or "nothing had changed")
    sys.exit(0)
