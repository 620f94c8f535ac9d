"""Static checks of a notebook: its parameters cell, and whether the parameters are used.

papermill reports none of this: an unknown parameter is a log line, a missing tag puts the injected cell on top
where the notebook's own values win, and a name nobody reads changes nothing. Here each is an error that names
the notebook and the parameter. Only the standard library is imported, so `make` can ask often.
"""

import ast
import json
import math
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoplens.errors import StudyError

INJECTED = ("DATASET", "PROFILE", "RUN", "SEED")
COUNTS = ("EPOCHS", "BATCH_SIZE", "IMAGE_SIZE", "CLUSTERS", "INTERVAL", "TOP", "DRAWS")    # none of them: no result
TYPES = (bool, int, float, str, list, dict)
MAGIC = re.compile(r"^(\s*)[%!?].*", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A code cell; `number` counts all cells of the notebook from 1."""

    number: int
    source: str
    tags: tuple[str, ...]


def code_cells(path: Path) -> list[Cell]:
    """Code cells of a notebook that are not empty; StudyError where the file is missing or not a notebook."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found = [Cell(number, "".join(cell["source"]), tuple(cell["metadata"].get("tags", ())))
                 for number, cell in enumerate(cells, start=1) if cell["cell_type"] == "code"]
    except FileNotFoundError:
        raise StudyError(f"there is no notebook {path}; correct `notebook:` in study.yml") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is not a readable notebook ({type(error).__name__}: {error})") from None
    return [cell for cell in found if cell.source.strip()]


def has_magic(source: str) -> bool:
    return bool(MAGIC.search(source))


def parse_cell(source: str) -> ast.Module | None:
    """Syntax tree of a code cell with IPython magics blanked out; None where it is not Python even so."""
    try:
        return ast.parse(MAGIC.sub(r"\1pass", source))
    except SyntaxError:
        return None


def _split(path: Path) -> tuple[Cell, list[Cell]]:
    """The parameters cell and the code cells after it."""
    cells = code_cells(path)
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    if not tagged:
        raise StudyError(
            f"{path.name}: no code cell is tagged `parameters`, so nothing can be set from study.yml; "
            "tag the cell that holds the parameters (JupyterLab: property inspector, Cell Tags)"
        )
    if len(tagged) > 1:
        where = ", ".join(str(cell.number) for cell in tagged)
        raise StudyError(f"{path.name}: cells {where} are all tagged `parameters`; keep one")
    return tagged[0], cells[cells.index(tagged[0]) + 1 :]


def _default(path: Path, statement: ast.stmt) -> tuple[str, object]:
    """Name and literal value of one line of the parameters cell."""
    where = f"{path.name}, parameters cell, `{ast.unparse(statement)}`"
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=expression):
            pass
        case _:
            raise StudyError(f"{where}: write one `NAME = literal  # meaning` per line (no tuples, no types)")
    try:
        value = ast.literal_eval(expression)
    except ValueError:
        raise StudyError(
            f"{where}: a parameter must be a literal; compute derived values in the next cell, "
            "or they keep the value they had before the injection"
        ) from None
    if type(value) not in TYPES:
        raise StudyError(f"{where}: a {type(value).__name__} has no type to check; use a number, text, list or dict")
    return name, value


def defaults(path: Path) -> dict[str, object]:
    """Parameters of a notebook and their default values, in order.

    Raises StudyError for a missing or doubled `parameters` tag, anything but literals, a name given twice, and
    a notebook that does not declare DATASET, PROFILE, RUN and SEED.
    """
    cell, _ = _split(path)
    tree = parse_cell(cell.source)
    if tree is None:
        raise StudyError(f"{path.name}: the parameters cell is not valid Python")
    found: dict[str, object] = {}
    for name, value in (_default(path, statement) for statement in tree.body):
        if name in found:
            raise StudyError(f"{path.name}: parameter {name} is given twice in the parameters cell")
        found[name] = value
    if missing := [name for name in INJECTED if name not in found]:
        raise StudyError(f"{path.name}: the parameters cell must declare {', '.join(missing)}; the runner sets them")
    return found


def convert(where: str, name: str, default: object, value: object) -> object:
    """`value` as the type of `default`: an int may stand for a float, nothing else is converted."""
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise StudyError(
            f"{where}: {name} must be a {type(default).__name__} like its default {default!r}, "
            f"got {type(value).__name__} {value!r}"
        )
    if isinstance(default, list) and default and not isinstance(default[0], (list, dict)):
        return [convert(where, f"{name}[{i}]", default[0], item) for i, item in enumerate(value)]
    if not all(math.isfinite(number) for number in _floats(value)):
        raise StudyError(f"{where}: {name} must be finite, got {value}")
    if name in COUNTS and value < 1:
        raise StudyError(f"{where}: {name} must be at least 1, got {value}")
    return value


def _floats(value: object) -> Iterator[float]:
    """The floats in a value, however deep in lists and dictionaries."""
    if type(value) is float:
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)


def resolve(path: Path, layers: list[tuple[str, dict]], injected: dict[str, object]) -> dict[str, object]:
    """Parameters of one run: the notebook's defaults, overridden by each layer in turn, then `injected`.

    `layers` holds (where it was written, {name: value}); later wins. StudyError names notebook and parameter.
    """
    values = defaults(path)
    for where, overrides in layers:
        for name, value in overrides.items():
            if name in INJECTED:
                raise StudyError(f"{where}: {name} is set by the runner; remove it")
            if name not in values:
                known = ", ".join(sorted(set(values) - set(INJECTED))) or "none besides the four the runner sets"
                raise StudyError(f"{where}: {path.name} has no parameter {name}; it has: {known}")
            values[name] = convert(where, name, values[name], value)
    return values | injected


def _uses(source: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Of each statement of a cell: its text, the global names it reads, and those it binds. A name that is only bound
    inside a function or a comprehension is none of them; a cell with magics counts as one statement that reads."""
    tree = parse_cell(source)
    if tree is None or has_magic(source):
        yield source, set(re.findall(r"\w+", source)), set()
        return
    for statement in tree.body:
        text = ast.unparse(statement)
        scopes = [symtable.symtable(text, "cell", "exec")]
        binds = {name.get_name() for name in scopes[0].get_symbols() if name.is_assigned() or name.is_imported()}
        reads = {statement.target.id} & binds if isinstance(statement, ast.AugAssign) else set()
        for scope in scopes:
            scopes += scope.get_children()
            reads |= {name.get_name() for name in scope.get_symbols()
                      if name.is_referenced() and (scope is scopes[0] or name.is_global())}
        yield text, reads, binds


def check_keywords(where: str, name: str, given: dict, source: Path) -> None:
    """StudyError for a key of a parameter that is handed on as keywords to `prepare` of a Python file, which has none
    of that name. The file is read, not imported: that takes seconds."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    known = {argument.arg for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "prepare"
             for argument in (*node.args.args, *node.args.kwonlyargs)}
    if known and (unknown := sorted(set(given) - known)):
        raise StudyError(f"{where}: {name} has no key {unknown[0]}; {source.name} takes: {', '.join(sorted(known))}")


def check_used(path: Path) -> None:
    """StudyError for a parameter that no later cell reads, or that is bound anew before it is read."""
    unread = list(defaults(path))
    for cell in _split(path)[1]:
        for text, reads, binds in _uses(cell.source):
            unread = [name for name in unread if name not in reads]
            if lost := [name for name in unread if name in binds]:
                raise StudyError(
                    f"{path.name}, cell {cell.number}: `{text.splitlines()[0]}` binds the parameter {lost[0]} anew "
                    "before anything read it, so study.yml could not set it"
                )
    if unread:
        raise StudyError(f"{path.name}: parameter {', '.join(unread)} is never read in a later cell; use or remove it")
