"""study.yml as it is written: its entries checked, its matrices multiplied out into runs.

An entry of `runs` is one run, or as many as its `variants`; a variant with a `matrix` is one run per combination of
the values listed there. Entry, variant and the values' meanings (`axes`) add up to the keys of a run, in which {axis}
stands for the value's name. What the keys may hold is in study.schema.yml; a mistake is a StudyError in one line that
names the run and the key.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from fnmatch import filter as fitting
from functools import cache
from pathlib import Path

import fastjsonschema

from shoplens.errors import StudyError
from shoplens.strict_yaml import read_yaml

CAPABILITIES = ("hierarchy", "three_layers", "attributes", "search", "masks")     # what a run `needs` is one, too
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
SEEDED = re.compile(r"-s\d+$")
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def read_study(path: Path) -> tuple[dict[str, dict], dict[str, dict], dict[str, dict]]:
    """Profiles, datasets and runs of a study.yml, each {name: keys}. A run's inputs are names and come before it.

    Raises StudyError where the file is missing, is not YAML, does not fit the schema or names what is not there.
    """
    raw = read_yaml(path, "it lists the datasets, profiles and runs")
    _check("study", "study.yml", raw)
    profiles = {name: {"about": keys} if isinstance(keys, str) else keys for name, keys in raw["profiles"].items()}
    datasets = {name: keys or {} for name, keys in raw["datasets"].items()}
    if both := set(profiles) & set(datasets):
        raise StudyError(f"study.yml: {', '.join(sorted(both))} is both a profile and a dataset; rename one")
    for kind, entries in (("profile", profiles), ("dataset", datasets)):
        for name, keys in entries.items():
            _check(kind, f"study.yml, {kind} {name}", keys)
    runs = expand(raw["runs"], raw.get("axes", {}))
    _check_references(profiles, datasets, runs)
    for name, run in runs.items():
        run["inputs"] = _inputs(f"study.yml, run {name}", run.get("inputs", ()), runs)
    return profiles, datasets, _inputs_first(runs)


def expand(entries: dict[str, dict], axes: dict[str, dict]) -> dict[str, dict]:
    """{run name: its keys} of the entries under `runs`, in their order; StudyError for a mistake in one of them, for a
    placeholder without an axis, and for two runs of one name."""
    for axis, values in axes.items():
        for value, keys in values.items():
            _check("value", f"study.yml, axis {axis}, {value}", keys)
    runs: dict[str, dict] = {}
    for notebook, entry in entries.items():
        if not isinstance(notebook, str):
            raise StudyError(f"study.yml, run {notebook}: a run's name is a text; write \"{notebook}\"")
        _check("run", f"study.yml, run {notebook}", entry)
        shared = {"notebook": notebook} | entry
        for template, variant in shared.pop("variants", {notebook: {}}).items():
            _check("run", f"study.yml, run {template}", variant)
            for name, run in _combinations(template, _added(shared, variant), axes):
                if name in runs:
                    raise StudyError(f"study.yml, run {name}: is there twice; a name holds every {{axis}} that varies")
                runs[name] = run
    return runs


def _combinations(template: str, variant: dict, axes: dict[str, dict]) -> Iterator[tuple[str, dict]]:
    """Name and keys of each run that a variant stands for."""
    where, matrix = f"study.yml, run {template}", variant.pop("matrix", {})
    _check_names(where, "matrix", matrix, axes)
    chosen = {axis: values if isinstance(values, list) else [values] for axis, values in matrix.items()}
    for axis, values in chosen.items():
        _check_names(where, axis, values, axes[axis])
    for values in itertools.product(*chosen.values()):
        run, names, titles = variant, {"run": "{run}"}, {}      # {run} is filled in when the seed is known
        for axis, value in zip(chosen, values, strict=True):
            meaning = dict(axes[axis][value])
            names[axis] = meaning.pop("name", value)
            titles[axis] = meaning.pop("title", names[axis])
            run = _added(run, meaning)
        title = _filled(where, run.get("title", ""), titles)
        yield _filled(where, template, names), _filled(where, run, names) | {"title": title}


def _added(run: dict, more: dict) -> dict:
    """`more` on top of `run`: needs and inputs are appended, parameters override one another place by place ("all",
    "fashion/laptop", …), any other key replaces."""
    lists = {key: run.get(key, []) + more.get(key, []) for key in ("needs", "inputs")}
    old, new = run.get("parameters", {}), more.get("parameters", {})
    parameters = {place: old.get(place, {}) | new.get(place, {}) for place in old | new}
    return run | more | lists | {"parameters": parameters}


def _filled(where: str, value: object, words: dict[str, str]) -> object:
    """`value` with {axis} replaced in every text in it."""
    if isinstance(value, dict):
        return {key: _filled(where, item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(where, item, words) for item in value]
    if not isinstance(value, str):
        return value
    if unknown := [axis for axis in PLACEHOLDER.findall(value) if axis not in words]:
        raise StudyError(f"{where}: {{{unknown[0]}}} in `{value}` is no axis of its matrix")
    return PLACEHOLDER.sub(lambda found: words[found[1]], value)


def _check_references(profiles: dict, datasets: dict, runs: dict) -> None:
    """StudyError for a name in a dataset or run that stands for nothing, and for a run that emits nothing."""
    needed = [need for run in runs.values() for need in run["needs"]]
    for name, keys in datasets.items():
        _check_names(f"study.yml, dataset {name}", "seeds", keys.get("seeds", ()), profiles)
        _check_names(f"study.yml, dataset {name}", "capabilities", keys.get("capabilities") or (),
                     dict.fromkeys([*CAPABILITIES, *needed]))
    known = {
        "datasets": datasets,
        "outputs_for": datasets,
        "needs": dict.fromkeys(item for keys in datasets.values() for item in keys.get("capabilities") or ()),
        "parameters": ["all", *profiles, *datasets, *(f"{one}/{other}" for one in datasets for other in profiles)],
    }
    for name, run in runs.items():
        where = f"study.yml, run {name}"
        if not NAME.fullmatch(name):
            raise StudyError(f"{where}: a run's name may hold letters, digits, `_`, `.` and `-` only")
        if SEEDED.search(name):
            raise StudyError(f"{where}: an ending such as -s1 is kept for repeated seeds; choose another name")
        if wrong := [file for file in run.get("files", ()) if Path(file).is_absolute() or ".." in Path(file).parts]:
            raise StudyError(f"{where}: files names {wrong[0]}; it must lie in the study, such as results/paper/*.csv")
        if not run.get("outputs"):
            raise StudyError(f"{where}: outputs is missing; every run names what it must emit")
        for key, there in known.items():
            _check_names(where, key, run.get(key, ()), there)


def _check_names(where: str, key: str, names: Iterable[str], known: Iterable[str]) -> None:
    if wrong := [str(name) for name in names if str(name) not in known]:
        raise StudyError(f"{where}: {key} names {wrong[0]}, which is none of: {', '.join(known)}")


def _inputs(where: str, patterns: Iterable[str], runs: dict[str, dict]) -> list[str]:
    """Names of the runs that the patterns fit, each pattern's in the order of study.yml."""
    _check_names(where, "inputs", [pattern for pattern in patterns if not fitting(runs, pattern)], runs)
    return list(dict.fromkeys(name for pattern in patterns for name in fitting(runs, pattern)))


def _inputs_first(runs: dict[str, dict]) -> dict[str, dict]:
    """The runs in the order of study.yml, but each after its inputs; StudyError for a circle."""
    done: dict[str, dict] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise StudyError(f"study.yml: these runs need each other in a circle: {' > '.join((*path, name))}")
        if name not in done:
            for needed in runs[name]["inputs"]:
                visit(needed, (*path, name))
            done[name] = runs[name]

    for name in runs:
        visit(name, ())
    return done


@cache
def _validators() -> dict:
    schemas = read_yaml(Path(__file__).with_name("study.schema.yml"), "it says what study.yml may hold")
    return {kind: fastjsonschema.compile(schema) for kind, schema in schemas.items()}


def _check(kind: str, where: str, keys: object) -> None:
    """StudyError where `keys` do not fit the schema of that kind."""
    try:
        _validators()[kind](keys)
    except fastjsonschema.JsonSchemaValueException as error:
        known = error.definition.get("properties", {})
        if error.rule == "additionalProperties":
            unknown = ", ".join(str(key) for key in error.value if key not in known)
            said = f"unknown key {unknown}; known: {', '.join(sorted(known))}"
        elif "error" in error.definition:
            said = error.definition["error"].format(value=error.value)
        else:
            said = error.message.removeprefix("data").strip(". ")
        raise StudyError(f"{where}: {said}") from None
