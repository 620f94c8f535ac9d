"""Static checks of a notebook: its parameters cell, and whether the parameters are used.

papermill reports none of this: an unknown parameter is a log line, a missing tag puts the injected cell on top
where the notebook's own values win, and a name nobody reads changes nothing. Here each is an error that names
the notebook and the parameter. Only the standard library is imported, so `make` can ask often.
"""

import ast
import json
import re
import symtable
from dataclasses import dataclass
from pathlib import Path

from shoplens.errors import StudyError

INJECTED = ("DATASET", "PROFILE", "RUN", "SEED")


SCALARS = (bool, int, float, str)


# YAML 1.1 reads 1e-4 as text; only a number with a point and a sign (1.0e-4) is a float to it.
FLOAT_LIKE = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


@dataclass(frozen=True)
class Cell:
    index: int
    kind: str
    source: str
    tags: tuple[str, ...]
    execution_count: int | None = None
    outputs: int = 0


def read_cells(path: Path) -> list[Cell]:
    """Cells of a notebook file, sources joined; StudyError where the file is missing or not a notebook."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        raise StudyError(f"there is no notebook {path}; correct `notebook:` in study.yml") from None
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is not a readable notebook ({type(error).__name__}: {error})") from None
    return [
        Cell(index, cell["cell_type"], "".join(cell.get("source", "")),
             tuple(cell.get("metadata", {}).get("tags", ())), cell.get("execution_count"),
             len(cell.get("outputs", ())))
        for index, cell in enumerate(raw)
    ]  # fmt: skip


def code_cells(path: Path) -> list[Cell]:
    return [cell for cell in read_cells(path) if cell.kind == "code" and cell.source.strip()]


def has_magic(source: str) -> bool:
    return any(line.lstrip().startswith(("%", "!", "?")) for line in source.splitlines())


def parse_cell(source: str) -> ast.Module | None:
    """Syntax tree of a code cell with IPython magics blanked out; None where it is not Python even so."""
    lines = []
    for line in source.splitlines():
        body = line.lstrip()
        magic = body.startswith(("%", "!", "?"))
        lines.append(line[: len(line) - len(body)] + "pass" if magic else line)
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return None


def parameters_cell(path: Path, cells: list[Cell]) -> Cell:
    tagged = [cell for cell in cells if "parameters" in cell.tags]
    if not tagged:
        raise StudyError(
            f"{path.name}: no code cell is tagged `parameters`, so nothing can be set from study.yml; "
            "tag the cell that holds the parameters (JupyterLab: property inspector, Cell Tags)"
        )
    if len(tagged) > 1:
        where = ", ".join(str(cell.index + 1) for cell in tagged)
        raise StudyError(f"{path.name}: cells {where} are all tagged `parameters`; keep one")
    if any("injected-parameters" in cell.tags for cell in cells):
        raise StudyError(f"{path.name}: holds an `injected-parameters` cell; it is an executed copy, not a source")
    return tagged[0]


def _default(path: Path, statement: ast.stmt) -> tuple[str, object]:
    """Name and literal value of one line of the parameters cell."""
    where = f"{path.name}, parameters cell, `{ast.unparse(statement)}`"
    simple = isinstance(statement, ast.Assign) and len(statement.targets) == 1
    annotated = isinstance(statement, ast.AnnAssign) and isinstance(statement.annotation, ast.Name)
    target = statement.targets[0] if simple else statement.target if annotated else None
    if not isinstance(target, ast.Name) or statement.value is None:
        raise StudyError(f"{where}: write one `NAME = literal  # meaning` a line (no tuples, no unions)")
    try:
        value = ast.literal_eval(statement.value)
    except ValueError:
        raise StudyError(
            f"{where}: a parameter must be a literal; compute derived values in the next cell, "
            "or they keep the value they had before the injection"
        ) from None
    if not isinstance(value, (*SCALARS, list, dict)):
        raise StudyError(f"{where}: a {type(value).__name__} has no type to check; use a number, text, list or dict")
    return target.id, value


def defaults(path: Path, cells: list[Cell] | None = None) -> dict[str, object]:
    """Parameters of a notebook and their default values, in order.

    Raises StudyError for a missing or doubled `parameters` tag, anything but literals, a name given twice, and
    a notebook that does not declare DATASET, PROFILE, RUN and SEED.
    """
    cell = parameters_cell(path, cells or code_cells(path))
    tree = parse_cell(cell.source)
    if tree is None:
        raise StudyError(f"{path.name}: the parameters cell is not valid Python")
    found: dict[str, object] = {}
    for statement in tree.body:
        name, value = _default(path, statement)
        if name in found:
            raise StudyError(f"{path.name}: parameter {name} is given twice in the parameters cell")
        found[name] = value
    missing = [name for name in INJECTED if name not in found]
    if missing:
        raise StudyError(f"{path.name}: the parameters cell must declare {', '.join(missing)}; the runner sets them")
    return found


def _floats_as_text(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if FLOAT_LIKE.fullmatch(value) else []
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in _floats_as_text(item)]


def convert(where: str, name: str, default: object, value: object) -> object:
    """`value` as the type of `default`: an int may stand for a float, nothing else is converted."""
    texts = [] if isinstance(default, str) else _floats_as_text(value)
    if texts:
        mantissa, exponent = texts[0].lower().split("e")
        right = f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}".replace(".e", ".0e")
        raise StudyError(f"{where}: {name} = {texts[0]} is text to YAML, not a number; write {right}")
    if type(default) is float and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise StudyError(
            f"{where}: {name} must be a {type(default).__name__} like its default {default!r}, "
            f"got {type(value).__name__} {value!r}"
        )
    if isinstance(default, list) and default and isinstance(default[0], SCALARS):
        return [convert(where, f"{name}[{i}]", default[0], item) for i, item in enumerate(value)]
    return value


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


def _reads_and_binds(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """Global names that a top-level statement reads, and those it binds (a name only bound inside a function
    or a comprehension belongs to neither)."""
    reads, binds = set(), set()
    table = symtable.symtable(ast.unparse(statement), "cell", "exec")
    pending = [table]
    while pending:
        scope = pending.pop()
        pending += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is table or symbol.is_global()):
                reads.add(symbol.get_name())
            if scope is table and (symbol.is_assigned() or symbol.is_imported()):
                binds.add(symbol.get_name())
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        reads.add(statement.target.id)
    return reads, binds


def check_used(path: Path, cells: list[Cell] | None = None) -> None:
    """StudyError for a parameter that no later cell reads, or that is bound anew before it is read."""
    cells = cells or code_cells(path)
    tagged = parameters_cell(path, cells)
    unread = dict.fromkeys(defaults(path, cells))
    for cell in cells:
        if cell.index <= tagged.index:
            continue
        tree = parse_cell(cell.source)
        if tree is None or has_magic(cell.source):
            for name in [name for name in unread if re.search(rf"\b{name}\b", cell.source)]:
                del unread[name]
            continue
        for statement in tree.body:
            reads, binds = _reads_and_binds(statement)
            for name in [name for name in unread if name in reads]:
                del unread[name]
            lost = [name for name in unread if name in binds]
            if lost:
                raise StudyError(
                    f"{path.name}, cell {cell.index + 1}: `{ast.unparse(statement).splitlines()[0]}` binds the "
                    f"parameter {lost[0]} anew before anything read it, so study.yml could not set it"
                )
    if unread:
        raise StudyError(f"{path.name}: parameter {', '.join(unread)} is never read in a later cell; use or remove it")


def check_source(path: Path) -> list[str]:
    """Problems of a notebook as a committed source, for the tests: stored outputs, execution counts, a
    parameter without a comment or not in capitals, and everything that would stop a run."""
    cells = read_cells(path)
    problems = [
        f"{path.name}, cell {cell.index + 1}: clear its outputs before committing"
        for cell in cells
        if cell.outputs or cell.execution_count
    ]
    try:
        names = defaults(path)
        check_used(path)
        source = parameters_cell(path, code_cells(path)).source
    except StudyError as error:
        return [*problems, str(error)]
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        if not re.search(r"  # \S", lines[statement.end_lineno - 1]):
            problems.append(f"{path.name}: `{ast.unparse(statement)}` wants a comment: meaning, unit, paper's value")
    problems += [f"{path.name}: parameter {name} should be in capitals" for name in names if name != name.upper()]
    return problems
