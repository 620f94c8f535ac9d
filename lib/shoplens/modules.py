"""The library's own modules as source: where they are, what their code hashes to, and which others they import."""

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import NamedTuple

from shoplens.errors import StudyError
from shoplens.paths import root
from shoplens.syntax import code_text, short_hash

PACKAGE = "shoplens"


class Module(NamedTuple):
    """What counts of a module: the hash of its code, and the dotted names it imports."""

    hash: str
    imports: frozenset[str]


def module_file(name: str) -> Path | None:
    """File of the module `shoplens.a.b` in this study's lib/, or None if there is none."""
    base = root() / "lib" / Path(*name.split("."))
    return next((file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()), None)


def imported_names(tree: ast.AST, package: str = "") -> set[str]:
    """Dotted names that a tree may import, anywhere in it, also inside functions; relative ones from `package`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (package or not node.level):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


@cache
def _module(name: str, file: Path, text: str) -> Module:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise StudyError(f"{file.relative_to(root())}, line {error.lineno}: {error.msg}") from None
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    imports = frozenset(imported_names(tree, package))
    return Module(short_hash(code_text(tree)), imports)


def closure(names: set[str]) -> dict[str, Module]:
    """The shoplens modules that importing these dotted names reaches, by name, the packages on the way included."""
    found: dict[str, Module] = {}
    pending = list(names)
    while pending:
        name = pending.pop()
        if name in found or name.split(".")[0] != PACKAGE:
            continue
        if file := module_file(name):
            found[name] = _module(name, file, file.read_text(encoding="utf-8"))
            pending += found[name].imports
        pending.append(name.rpartition(".")[0])
    return dict(sorted(found.items()))
