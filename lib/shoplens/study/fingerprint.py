"""What a run depends on, as a dictionary of hashes: its code cells, its parameters, the shoplens modules it
imports (and those they import), its source of data, its declared files and outputs, and the runs before it.

Prose, comments and docstrings do not count, so editing them retrains nothing; a plotting module counts only for
the notebooks that import it.
"""

import ast
import hashlib
import json
import re
from functools import cache
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.paths import data_dir, root
from shoplens.study.parameters import code_cells, has_magic, parse_cell
from shoplens.study.plan import RunSpec
from shoplens.syntax import code_text, short_hash

PACKAGE = "shoplens"
SHORT = 16


def module_file(name: str) -> Path | None:
    """File of the module `shoplens.a.b` in this study's lib/, or None if there is none."""
    base = root() / "lib" / Path(*name.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imports(tree: ast.AST, module: str = "", is_package: bool = False) -> set[str]:
    """Dotted names under shoplens that a tree may import, anywhere in it, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package else -1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == PACKAGE}


def _modules_of(name: str) -> list[str]:
    """The modules that importing a dotted name runs: each package on the way that has a file."""
    parts = name.split(".")
    return [n for n in (".".join(parts[: i + 1]) for i in range(len(parts))) if module_file(n)]


@cache
def _module(name: str, file: Path, changed_ns: int) -> tuple[str, frozenset[str]]:
    """Hash of a module and the names it imports; the time of change only keys the cache."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise StudyError(f"{file.relative_to(root())}, line {error.lineno}: {error.msg}") from None
    imports = frozenset(_imports(tree, name, file.name == "__init__.py"))
    return short_hash(code_text(tree)), imports


def closure(names: set[str]) -> dict[str, str]:
    """{module: hash} of the shoplens modules that these dotted names reach."""
    found: dict[str, str] = {}
    pending = list(names)
    while pending:
        for name in _modules_of(pending.pop()):
            if name not in found:
                file = module_file(name)
                found[name], imports = _module(name, file, file.stat().st_mtime_ns)
                pending += imports
    return dict(sorted(found.items()))


def _source_modules(dataset: str) -> set[str]:
    """The module of a source, or its whole package: it is imported by name, which no syntax tree shows."""
    name = f"{PACKAGE}.data.sources.{dataset}"
    file = module_file(name)
    if file is None:
        raise StudyError(f"dataset {dataset} has no lib/shoplens/data/sources/{dataset}.py")
    if file.name != "__init__.py":
        return {name}
    return {name} | {f"{name}.{path.stem}" for path in file.parent.glob("*.py") if path.stem != "__init__"}


def notebook_code(path: Path) -> tuple[str, set[str]]:
    """Hash of a notebook's code cells and the shoplens names they import. The parameters cell is left out: its
    values are components of their own."""
    parts, names = [], set()
    for cell in code_cells(path):
        if "parameters" in cell.tags:
            continue
        tree = parse_cell(cell.source)
        if tree is not None:
            names |= _imports(tree)
        else:
            names |= set(re.findall(r"^\s*(?:from|import)\s+(shoplens[\w.]*)", cell.source, re.M))
        text = cell.source if tree is None or has_magic(cell.source) else code_text(tree)
        parts.append(f"{sorted(cell.tags)} {text}")
    return short_hash("\n\n".join(parts)), names


def file_hash(path: Path) -> str:
    """Hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:SHORT]


def raw_hash(folder: Path) -> str:
    """Hash of a folder of raw data: names and sizes of all files, and the content of its tables (.csv, .txt). Of a
    single file, its content.

    Dates do not count, so a copy elsewhere is the same data; "absent" where there is neither.
    """
    if folder.is_file():
        return file_hash(folder)
    if not folder.is_dir():
        return "absent"
    parts = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = file_hash(path) if path.suffix in (".csv", ".txt") else ""
        parts.append(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} {content}")
    return short_hash("\n".join(parts))


def _own_data(source: dict) -> dict[str, str]:
    """Hashes of the CSV and of the folder of images, where the parameters of a source say that they lie elsewhere."""
    places = {key: root() / Path(str(source[key])).expanduser() for key in ("csv", "images") if source.get(key)}
    return {f"raw data {key}": raw_hash(place) for key, place in places.items()}


def _declared_files(run: RunSpec) -> list[Path]:
    """The files that study.yml names for a run. Accepted results of its own data set are left out: accepting a run must
    not make it stale. StudyError for a pattern that no file fits."""
    found = []
    for pattern in run.files:
        files = sorted(root().glob(pattern))
        if not files:
            raise StudyError(f"study.yml, run {run.name}: files names {pattern}, and there is no such file")
        found += [file for file in files if not file.is_relative_to(_accepted() / run.dataset)]
    return found


def _accepted() -> Path:
    return root() / "results" / "reference"


def components(run: RunSpec, upstream: dict[str, str]) -> dict[str, object]:
    """Everything a run depends on, {what: hash or value}. `upstream` maps the ids of its inputs to their
    fingerprints. The keys read as reasons: "parameter EPOCHS", "module shoplens.images", "input 01_catalogue"."""
    code, names = notebook_code(run.notebook)
    if run.sources:
        names |= _source_modules(run.dataset)
    parts: dict[str, object] = {"notebook code": code}
    if run.sources and run.raw:
        parts[f"raw data {run.raw}"] = raw_hash(data_dir() / run.raw)
    parameters = run.parameters()
    if run.sources:
        parts |= _own_data(parameters.get("SOURCE", {}))
    parts |= {f"parameter {name}": value for name, value in parameters.items()}
    parts |= {f"module {name}": value for name, value in closure(names).items()}
    parts |= {f"input {name}": upstream[name] for name in run.upstream}
    parts |= {f"file {file.relative_to(root())}": file_hash(file) for file in _declared_files(run)}
    parts["declared outputs"] = list(run.outputs)
    return parts


def digest(parts: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def fingerprints(runs: dict[str, RunSpec]) -> dict[str, dict]:
    """{run id: {"fingerprint": ..., "components": ...}} of planned runs, which come inputs first.

    A fingerprint covers those of its inputs, so it also names the checkpoints of exactly this training.
    """
    found: dict[str, dict] = {}
    for run in runs.values():
        parts = components(run, {name: found[name]["fingerprint"] for name in run.upstream})
        found[run.id] = {"fingerprint": digest(parts), "components": parts}
    return found


def differences(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """What changed between two component dictionaries, in words."""
    said = []
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) == new.get(key) and (key in old) == (key in new):
            continue
        if key.startswith("parameter ") and key in old and key in new:
            said.append(f"{key} {old[key]!r} -> {new[key]!r}")
        else:
            said.append(f"{key} {'is new' if key not in old else 'is gone' if key not in new else 'changed'}")
    return said


def code_files(run: RunSpec) -> list[Path]:
    """Files whose content a run's result depends on, for asking git whether they are committed. Accepted results are
    none of them: those of several data sets are committed together."""
    _, names = notebook_code(run.notebook)
    modules = closure(names | (_source_modules(run.dataset) if run.sources else set()))
    extra = [file for file in _declared_files(run) if not file.is_relative_to(_accepted())]
    return [run.notebook, root() / "study.yml", *(module_file(name) for name in modules), *extra]
