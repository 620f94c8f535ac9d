"""What a run depends on, as a dictionary of hashes: its code cells, its parameters, the shoplens modules it imports
(and those they import), the versions of the packages these import, its source of data, its declared files and outputs,
and the runs before it.

Prose, comments and docstrings do not count, so editing them retrains nothing; a plotting module counts only for
the notebooks that import it.
"""

import hashlib
import json
import re
from pathlib import Path

from shoplens.environment import installed
from shoplens.errors import StudyError
from shoplens.modules import PACKAGE, Module, closure, imported_names, module_file
from shoplens.paths import data_dir, root
from shoplens.sealed import file_hashes, files_in
from shoplens.study.parameters import code_cells, has_magic, parse_cell
from shoplens.study.plan import RunSpec
from shoplens.syntax import code_text, short_hash

# Packages that compute a run's numbers: what they are imported as → the distributions that may have brought them.
COMPUTING = {
    "torch": ("torch",), "torchvision": ("torchvision",), "timm": ("timm",), "faiss": ("faiss-gpu", "faiss-cpu"),
    "numpy": ("numpy",), "sklearn": ("scikit-learn",), "scipy": ("scipy",), "accelerate": ("accelerate",),
    "pytorch_metric_learning": ("pytorch-metric-learning",),
}  # fmt: skip


def _packages(names: set[str], modules: dict[str, Module]) -> dict[str, str]:
    """Installed versions of the computing packages among the imported names and those that the modules import."""
    imported = {name.split(".")[0] for name in names.union(*(module.imports for module in modules.values()))}
    found = {each: installed(each) for name, some in COMPUTING.items() if name in imported for each in some}
    return {f"package {name}": version for name, version in found.items() if version}


def _source_modules(dataset: str) -> set[str]:
    """The module of a source, or its whole package: it is imported by name, which no syntax tree shows."""
    name = f"{PACKAGE}.data.sources.{dataset}"
    file = module_file(name)
    if file is None:
        raise StudyError(f"dataset {dataset} has no lib/shoplens/data/sources/{dataset}.py")
    inside = file.parent.glob("*.py") if file.name == "__init__.py" else ()
    return {name} | {f"{name}.{path.stem}" for path in inside if path != file}


def _notebook_code(path: Path) -> tuple[str, set[str]]:
    """Hash of a notebook's code cells and the dotted names they import. The parameters cell is left out: its values
    are components of their own."""
    parts, names = [], set()
    for cell in code_cells(path):
        if "parameters" in cell.tags:
            continue
        tree = parse_cell(cell.source)
        plain = re.findall(r"^\s*(?:from|import)\s+(\w[\w.]*)", cell.source, re.M)
        names |= imported_names(tree) if tree else set(plain)
        text = code_text(tree) if tree and not has_magic(cell.source) else cell.source
        parts.append(f"{sorted(cell.tags)} {text}")
    return short_hash("\n\n".join(parts)), names


def _code(run: RunSpec) -> tuple[str, set[str], dict[str, Module]]:
    """Hash of a run's notebook, the dotted names that it and, where it prepares the data, its source import, and the
    modules these reach."""
    code, names = _notebook_code(run.notebook)
    names |= _source_modules(run.dataset) if run.sources else set()
    return code, names, closure(names)


def raw_hash(place: Path) -> str:
    """Hash of a folder of raw data, those behind links in it too: names and content of all files. Of a single file, its
    content. Dates do not count, so a copy elsewhere is the same data; "absent" where there is neither.
    """
    if not place.exists():
        return "absent"
    files = files_in(place) if place.is_dir() else [place]
    lines = [f"{file.relative_to(place).as_posix()} {known}" for file, known in file_hashes(files, place).items()]
    return short_hash("\n".join(lines).encode("utf-8", "surrogateescape"))


def _raw_data(run: RunSpec, source: dict) -> dict[str, str]:
    """Hashes of the data set's raw data, and of the CSV and the folder of images that the parameters of a source say
    lie elsewhere."""
    places = {run.raw: data_dir() / run.raw} if run.raw else {}
    places |= {key: root() / Path(str(source[key])).expanduser() for key in ("csv", "images") if source.get(key)}
    return {f"raw data {name}": raw_hash(place) for name, place in places.items()}


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
    fingerprints. The keys read as reasons: "parameter EPOCHS", "module shoplens.data.images", "package torch"."""
    code, names, modules = _code(run)
    parameters = run.parameters()
    parts: dict[str, object] = {"notebook code": code}
    if run.sources:
        parts |= _raw_data(run, parameters.get("SOURCE", {}))
    parts |= {f"parameter {name}": value for name, value in parameters.items()}
    parts |= {f"module {name}": module.hash for name, module in modules.items()}
    parts |= _packages(names, modules)
    parts |= {f"input {name}": upstream[name] for name in run.upstream}
    parts |= {f"file {file.relative_to(root())}": short_hash(file.read_bytes()) for file in _declared_files(run)}
    parts["declared outputs"] = list(run.outputs)
    return parts


def digest(parts: dict[str, object]) -> str:
    """SHA-256 of components, whatever their order."""
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
    found = []
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new:
            found.append(f"{key} is {'new' if key in new else 'gone'}")
        elif old[key] != new[key]:
            shown = {"parameter": f"{old[key]!r} -> {new[key]!r}", "package": f"changed from {old[key]} to {new[key]}"}
            found.append(f"{key} {shown.get(key.split()[0], 'changed')}")
    return found


def code_files(run: RunSpec) -> list[Path]:
    """Files whose content a run's result depends on, for asking git whether they are committed. Accepted results are
    none of them: those of several data sets are committed together."""
    _, _, modules = _code(run)
    extra = [file for file in _declared_files(run) if not file.is_relative_to(_accepted())]
    return [run.notebook, root() / "study.yml", *map(module_file, modules), *extra]
