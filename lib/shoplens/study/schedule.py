"""Which runs must be executed, and why; the rules by which Make executes them.

The truth is in the records: a run is done when its record holds the components it would have today, was made from
the present executions of its inputs, and all that it wrote is as it was written. Dates of files say nothing, so copying
a folder, checking out another commit and coming back, or re-saving a file mean nothing.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from shoplens.errors import StudyError
from shoplens.modules import closure, module_file
from shoplens.paths import data_dir, results_dir, root
from shoplens.sealed import altered
from shoplens.study.execute import execute, is_locked, lock_file, locked, num_processes, say
from shoplens.study.fingerprint import differences, digest, fingerprints
from shoplens.study.parameters import check_keywords, check_used
from shoplens.study.plan import RunSpec, load_study, needed, parse_seeds
from shoplens.study.publish import read_record, report_mark, work_folder
from shoplens.syntax import short_hash

LOCK_WAIT_S = 30
# What the report reads besides what runs emitted: its words, its templates and styles, the papers' tables.
REPORT_FILES = ("report.yml", "lib/shoplens/report/**/*.html", "lib/shoplens/report/**/*.css", "results/paper/*.csv")


class Standing(NamedTuple):
    """What became of a run: state is done, stale, failed, running or never run. record: of its last attempt, {} if
    there was none."""

    state: str
    reasons: list[str]
    record: dict


def assess(runs: dict[str, RunSpec], current: dict[str, dict]) -> dict[str, Standing]:
    """Where each of these runs stands, by id. current: their `fingerprints`; inputs come first."""
    found: dict[str, Standing] = {}
    for run in runs.values():
        found[run.id] = _standing(run, current[run.id]["components"], found)
        if is_locked(lock_file(run)):
            found[run.id] = Standing("running", [], found[run.id].record)
    return found


def _standing(run: RunSpec, components: dict, inputs: dict[str, Standing]) -> Standing:
    """Where a run stands that no process executes."""
    try:
        record = read_record(run.record_file)
    except StudyError as error:
        return Standing("stale", [str(error)], {})
    if work_folder(run).exists():
        why = "killed before it could say why; the next attempt resumes from its checkpoint"
        return Standing("failed", [why], record)
    if not record:
        return Standing("never run", [], record)
    if record["status"] == "failed":
        cell = f" in `{record['cell']}`" if record.get("cell") else ""
        return Standing("failed", [f"{record['error']}{cell}"], record)
    reasons = differences(record["components"], components)
    for name in run.upstream:
        if record["components"].get(f"input {name}") != components[f"input {name}"]:
            continue        # among the differences
        if inputs[name].state != "done":
            reasons.append(f"input {name} is {inputs[name].state}")
        elif inputs[name].record["finished"] != record["inputs"].get(name):
            reasons.append(f"input {name} is newer")
    if "files" in record:
        reasons += [f"{name} {what}" for name, what in altered(run.results, record["files"]).items()]
    else:
        reasons.append("its record, of an earlier version of the study, does not say what it wrote")
    return Standing("stale" if reasons else "done", reasons, record)


def graph(dataset: str, profile: str, seeds: str, run_id: str = "") -> str:
    """Rules for Make: the runs that must be executed, and the report; with `run_id` that run and what it needs alone.
    Empty where nothing must be done.

    StudyError for whatever is wrong with the request, with study.yml or with the notebook of a run.
    """
    num_processes()     # one message, not one per run
    runs = load_study().plan(dataset, profile, parse_seeds(seeds))
    runs = needed(runs, run_id) if run_id else runs
    fetch_raw(runs)
    for notebook in dict.fromkeys(run.notebook for run in runs.values()):
        check_used(notebook)
    for run in runs.values():
        if run.sources and (source := module_file(f"shoplens.data.sources.{run.dataset}")):
            check_keywords(f"study.yml, run {run.name}", "SOURCE", run.parameters().get("SOURCE", {}), source)
    found = assess(runs, fingerprints(runs))
    due = {name: run for name, run in runs.items() if found[name].state != "done"}
    find_weights(due)
    folder = results_dir(dataset, profile)
    report = "" if run_id else _report_digest(runs)
    nothing = not due and (run_id or _report_stands(folder, report))
    return "" if nothing else _rules(folder, due, seeds, report)


def fetch_raw(runs: dict[str, RunSpec]) -> None:
    """Download the raw data that runs read and that is not there, so that fingerprints can take it in.

    StudyError with the source's own sentence where it cannot be had.
    """
    absent = {run.dataset for run in runs.values() if run.sources and run.raw and not (data_dir() / run.raw).exists()}
    for dataset in absent:
        from shoplens.data import registry  # slow to import, and most calls have nothing to fetch

        try:
            registry.ensure_raw(dataset)
        except registry.DataError as error:
            raise StudyError(str(error)) from None


def find_weights(runs: dict[str, RunSpec]) -> None:
    """Look for the pretrained weights of these runs, and download them, before anything else is made.

    StudyError with the ways out where they cannot be had.
    """
    given = [run.parameters() for run in runs.values()]
    for name in dict.fromkeys(known["BACKBONE"] for known in given if known.get("PRETRAINED")):
        from shoplens.models import weights  # as above

        try:
            weights.find(name)
        except (weights.WeightsError, ValueError) as error:
            raise StudyError(str(error)) from None


def _report_digest(runs: dict[str, RunSpec]) -> str:
    """Digest of the modules and files that write index.html, and of the list of runs."""
    files = [file for pattern in REPORT_FILES for file in sorted(root().glob(pattern))]
    return digest({
        "modules": {name: each.hash for name, each in closure({"shoplens.report.index_page"}).items()},
        "files": {str(file.relative_to(root())): short_hash(file.read_bytes()) for file in files},
        "runs": list(runs),
    })  # fmt: skip


def _report_stands(folder: Path, report: str) -> bool:
    """Whether index.html is there, of this digest, and no run was published after it."""
    mark = report_mark(folder)
    return (folder / "index.html").exists() and mark.exists() and mark.read_text(encoding="utf-8").strip() == report


def _rules(folder: Path, due: dict[str, RunSpec], seeds: str, report: str) -> str:
    """One phony target per run, after those of its inputs that are due too; then the report, if a digest is given."""
    some = f"--dataset {folder.parent.name} --profile {folder.name}"
    lines = [f".PHONY: everything/ {' '.join(due)}", f"everything/: {' '.join(due)}"]      # a / is in no run's name
    if report:
        lines += [f"\t@$(PY) -m shoplens.report.index_page {some}"]
        lines += [f"\t@echo {report} > {report_mark(folder).relative_to(root()).as_posix()}"]
    for run in due.values():
        lines += [f"{run.id}: {' '.join(name for name in run.upstream if name in due)}"]
        lines += [f'\t@$(PY) -m shoplens.study execute {some} --run {run.id} --seeds "{seeds}" --if-due']
    return "\n".join(lines)


def execute_one(dataset: str, profile: str, seeds: str, run_id: str, if_due: bool = False) -> int:
    """Execute and publish one run whose inputs are there; exit code 0 or 1, the reason on stderr.

    if_due: not where it is done, because another make executed it in the meantime.
    """
    runs = needed(load_study().plan(dataset, profile, parse_seeds(seeds)), run_id)
    current = fingerprints(runs)
    run = runs.pop(run_id)
    with locked(run, LOCK_WAIT_S):
        found = assess(runs, current)
        if absent := [f"{name} ({found[name].state})" for name in run.upstream if found[name].state != "done"]:
            raise StudyError(f"{run_id} needs {', '.join(absent)}; make reproduce RUN={run_id} DATASET={dataset} "
                             f"PROFILE={profile} does both")
        if if_due and _standing(run, current[run_id]["components"], found).state == "done":
            say(f"[{run_id}] done by another make")
            return 0
        finished = {name: found[name].record["finished"] for name in run.upstream}
        failure = execute(run, current[run_id], finished)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0
