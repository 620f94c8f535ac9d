"""Command line of the study: `python -m shoplens.study graph | execute | status | accept-reference | verify`.

Make orders the runs and this module tells it which are up to date. The truth is in the records: a run is done
when its record holds the fingerprint it would have today, was made from the present executions of its inputs,
and all its outputs exist. `graph` sets the dates of stamps and targets to say just that, so copying a folder,
checking out another commit and coming back, or re-saving a file mean nothing.
"""

import argparse
import json
import os
import shutil
import sys
import time
from datetime import datetime
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.paths import data_dir, results_dir, root, write_atomic
from shoplens.study.execute import execute, is_locked, lock_file, num_processes
from shoplens.study.fingerprint import closure, code_files, differences, digest, file_hash, fingerprints
from shoplens.study.machine import git_state
from shoplens.study.parameters import check_used
from shoplens.study.plan import RunSpec, Study, choose, load_study, needed, parse_seeds
from shoplens.study.publish import work_folder, write_json

TABLES_ALONE = ("smoke",)     # profiles whose numbers mean nothing: kept for `make verify`, without pictures
REPORT_FILES = ("report.yml", "lib/shoplens/report/report.css", "results/paper/*.csv")      # what the report reads


def read_record(run: RunSpec) -> dict | None:
    """The record of a run's last attempt, or None."""
    try:
        return json.loads(run.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def assess(runs: dict[str, RunSpec], stamps: dict[str, dict]) -> dict[str, tuple[str, list[str]]]:
    """{run id: (state, reasons)}; state is done, stale, failed, running or never run."""
    found: dict[str, tuple[str, list[str]]] = {}
    for run in runs.values():
        record = read_record(run)
        if is_locked(lock_file(run)):
            found[run.id] = ("running", [])
        elif work_folder(run).exists():
            found[run.id] = ("failed", ["killed before it could say why; the next attempt resumes from its checkpoint"])
        elif record is None:
            found[run.id] = ("never run", [])
        elif record["status"] == "failed":
            cell = f" in `{record['cell']}`" if record.get("cell") else ""
            found[run.id] = ("failed", [f"{record['error']}{cell}"])
        else:
            reasons = _reasons(run, record, stamps[run.id]["components"], runs, found)
            found[run.id] = ("stale" if reasons else "done", reasons)
    return found


def _reasons(run: RunSpec, record: dict, components: dict, runs: dict, found: dict) -> list[str]:
    """Why a finished run is not up to date; empty if it is."""
    said = differences(record["components"], components)
    for name in run.upstream:
        if f"input {name}" in {reason.rsplit(" ", 1)[0] for reason in said}:
            continue
        if found[name][0] != "done":
            said.append(f"input {name} is {found[name][0]}")
        elif read_record(runs[name])["finished"] != record["inputs"].get(name):
            said.append(f"input {name} is newer")
    said += [f"{path.relative_to(run.results)} is gone" for path in _published(run) if not path.exists()]
    return said


def _published(run: RunSpec) -> list[Path]:
    return [run.target, *(run.published(output) for output in run.outputs)]


def _write_if_changed(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text.encode())


def _set_dates(run: RunSpec, done: bool) -> None:
    """Make the dates say what `assess` found. A done run's are those of its record, so inputs come before their
    readers; a target that is not up to date is older than its stamp."""
    if not run.target.exists():
        return
    if done:
        finished = int(datetime.fromisoformat(read_record(run)["finished"]).timestamp() * 1000) * 1_000_000
        for path in (run.stamp, run.target):
            os.utime(path, ns=(finished, finished))
    else:
        later = max(time.time_ns(), run.target.stat().st_mtime_ns + 1_000_000)
        os.utime(run.stamp, ns=(later, later))


def _report_stamp(folder: Path, runs: dict[str, RunSpec]) -> Path:
    """Stamp of index.html: the modules and files that write it and the list of runs."""
    parts = {f"module {name}": value for name, value in closure({"shoplens.report.index_page"}).items()}
    files = [file for pattern in REPORT_FILES for file in sorted(root().glob(pattern))]
    parts |= {f"file {file.relative_to(root())}": file_hash(file) for file in files}
    parts["runs"] = list(runs)
    stamp = folder / ".stamps" / "index.html.json"
    _write_if_changed(stamp, json.dumps({"fingerprint": digest(parts), "components": parts}, indent=1) + "\n")
    return stamp


def graph(dataset: str, profile: str, seeds: str, run_id: str = "") -> None:
    """Write stamps and the Make fragment results/<dataset>/<profile>/graph.mk; with `run_id`, of what it needs."""
    num_processes()     # said once, not by every run
    runs = load_study().plan(dataset, profile, parse_seeds(seeds))
    runs = needed(runs, run_id) if run_id else runs
    fetch_raw(runs)
    for notebook in dict.fromkeys(run.notebook for run in runs.values()):
        check_used(notebook)
    stamps = fingerprints(runs)
    found = assess(runs, stamps)
    for run in runs.values():
        _write_if_changed(run.stamp, json.dumps(stamps[run.id], indent=1, ensure_ascii=False) + "\n")
        _set_dates(run, found[run.id][0] == "done")
    folder = results_dir(dataset, profile)
    write_atomic(folder / "graph.mk", _fragment(folder, runs, seeds, whole=not run_id).encode())


def fetch_raw(runs: dict[str, RunSpec]) -> None:
    """Download the raw data that runs read and that is not there, so that fingerprints can take it in.

    StudyError with the source's own sentence where it cannot be had.
    """
    for run in runs.values():
        if run.sources and run.raw and not (data_dir() / run.raw).exists():
            from shoplens.data import registry  # slow to import, and most calls have nothing to fetch

            try:
                registry.ensure_raw(run.dataset)
            except registry.DataError as error:
                raise StudyError(str(error)) from None


def _fragment(folder: Path, runs: dict[str, RunSpec], seeds: str, whole: bool) -> str:
    def shown(path: Path) -> str:
        return path.relative_to(root()).as_posix()

    some = f"--dataset {folder.parent.name} --profile {folder.name}"
    lines = ["# Written by `make`: one rule a run. Do not edit.", "PY ?= python3", ".DELETE_ON_ERROR:"]
    lines.append(f".PHONY: all {' '.join(runs)}")
    if whole:
        index, stamp = shown(folder / "index.html"), shown(_report_stamp(folder, runs))
        lines += [f"all: {index}", f"{index}: {stamp} {' '.join(shown(run.target) for run in runs.values())}"]
        lines += [f"\t@$(PY) -m shoplens.report.index_page {some}"]
    for run in runs.values():
        before = " ".join(shown(path) for path in (run.stamp, *(runs[name].target for name in run.upstream)))
        lines += [f"{run.id}: {shown(run.target)}", f"{shown(run.target)}: {before}"]
        lines += [f'\t@$(PY) -m shoplens.study execute {run.id} {some} --seeds "{seeds}"']
    return "\n".join(lines) + "\n"


def execute_one(run_id: str, dataset: str, profile: str, seeds: str) -> int:
    """Execute and publish one run whose inputs are there; exit code 0 or 1, the reason on stderr."""
    runs = load_study().plan(dataset, profile, parse_seeds(seeds))
    runs = needed(runs, run_id)
    run = choose(runs, run_id)
    absent = [name for name in run.upstream if not runs[name].target.exists()]
    if absent:
        raise StudyError(
            f"{run_id} needs {', '.join(absent)}; make reproduce RUN={run_id} DATASET={dataset} PROFILE={profile} "
            "does both"
        )
    stamp = fingerprints(runs)[run_id]
    _write_if_changed(run.stamp, json.dumps(stamp, indent=1, ensure_ascii=False) + "\n")
    upstream = {name: read_record(runs[name])["finished"] for name in run.upstream}
    failure = execute(run, stamp, upstream)
    if failure:
        print(failure, file=sys.stderr)
    return 1 if failure else 0


def status(dataset: str, profile: str, seeds: str) -> None:
    """Print a table: run, state, minutes it took, why it is not done."""
    runs = load_study().plan(dataset, profile, parse_seeds(seeds))
    found = assess(runs, fingerprints(runs))
    rows = [("run", "state", "minutes", "why")]
    for run in runs.values():
        state, reasons = found[run.id]
        wall = (read_record(run) or {}).get("wall_s")
        rows.append((run.id, state, "" if wall is None else f"{wall / 60:.1f}", "; ".join(reasons)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    print(f"{dataset}/{profile}")
    for name, state, minutes, why in rows:
        print(f"  {name:<{widths[0]}}  {state:<{widths[1]}}  {minutes:>{widths[2]}}  {why}".rstrip())


def accept_reference(dataset: str, profile: str, seeds: str, run_id: str = "") -> None:
    """Copy tables, plots and records to results/reference/<dataset>/<profile>/; sheets of pictures stay behind, and of
    the smoke profile the plots too.

    StudyError, before anything is copied, for a run that is not done, for code that is not committed, be it that of a
    run these need, and for fewer seeds than the reference has. Without `run_id`, what study.yml no longer has goes.
    A done run's fingerprint is that of the files as they are now, so if git has these, the result is theirs, even
    if they were committed only after the run. The accepted record says which commit that is.
    """
    study, asked = load_study(), parse_seeds(seeds)
    runs = study.plan(dataset, profile, asked)
    reference = root() / "results" / "reference" / dataset / profile
    gone = [] if run_id else _no_longer_planned(reference, study, runs, asked)
    found = assess(runs, fingerprints(runs))
    chosen = [choose(runs, run_id)] if run_id else list(runs.values())
    for run in chosen:
        state, reasons = found[run.id]
        if state != "done":
            raise StudyError(f"cannot accept {run.id}: it is {state} ({'; '.join(reasons) or 'make reproduce'})")
    behind = needed(runs, run_id) if run_id else runs
    git = git_state(sorted({file for run in behind.values() for file in code_files(run)}))
    what = run_id or f"{dataset}/{profile}"
    if git["sha"] is None:
        raise StudyError(f"cannot accept {what}: there is no commit it could belong to")
    if git["dirty"]:
        raise StudyError(f"cannot accept {what}: commit {', '.join(git['dirty'])} first")
    for record in gone:
        _remove_accepted(record)
    for run in chosen:
        _copy_to_reference(run, reference, git["sha"])
    print(f"Accepted {len(chosen)} runs into {reference.relative_to(root())}; look at `git diff` before committing.")
    if profile in TABLES_ALONE:
        print(f"PROFILE={profile} is for tests: tables alone, for `make verify`; their numbers are no results.")


def _no_longer_planned(reference: Path, study: Study, runs: dict[str, RunSpec], asked: tuple[int, ...]) -> list[Path]:
    """Accepted records of runs that study.yml has no more, whatever the seeds. StudyError where runs of other seeds
    than `asked` would stay beside new tables that know nothing of them."""
    dataset, profile = reference.parts[-2:]
    outside = [file for file in sorted((reference / "runs").glob("*.json")) if file.stem not in runs]
    of_reference = {json.loads(file.read_text(encoding="utf-8"))["seed"] for file in outside}
    seeds = tuple(sorted(of_reference.union(asked)))
    whole = study.plan(dataset, profile, seeds)
    if left := [file.stem for file in outside if file.stem in whole]:
        named = f"{left[0]} and {len(left) - 1} more" if len(left) > 1 else left[0]
        raise StudyError(
            f"cannot accept {dataset}/{profile}: of its reference, {named} would stay beside runs of fewer seeds; "
            f'give SEEDS="{" ".join(map(str, seeds))}", or remove {reference.relative_to(root())} first'
        )
    return outside


def _remove_accepted(record: Path) -> None:
    """Remove an accepted record and the outputs it names."""
    for name in json.loads(record.read_text(encoding="utf-8"))["outputs"]:
        (record.parents[1] / name).unlink(missing_ok=True)
    record.unlink()


def _copy_to_reference(run: RunSpec, reference: Path, sha: str) -> None:
    accepted = reference / "runs" / f"{run.id}.json"
    if accepted.exists():
        _remove_accepted(accepted)
    record = read_record(run)
    kept = [name for name in record["outputs"] if _belongs_in_git(run, name)]
    for name in kept:
        (reference / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.results / name, reference / name)
    write_json(accepted, record | {"outputs": kept, "accepted_commit": sha})


def _belongs_in_git(run: RunSpec, name: str) -> bool:
    """Tables of every run; figures once, as PNG, of the first seed alone: a hundred runs draw a lot."""
    if name.startswith("tables/"):
        return True
    return (name.startswith("figures/") and name.endswith(".png") and run.id == run.name
            and run.profile not in TABLES_ALONE and not _shows_pictures(run.results / name))


def _shows_pictures(file: Path) -> bool:
    """Whether a figure is a sheet of pictures: those stay out of git, as the pictures themselves do."""
    drawing = file.with_suffix(".svg")
    return drawing.exists() and drawing.read_text().count("<image") > 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shoplens.study", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("graph", "execute", "status", "accept-reference", "verify"):
        command = commands.add_parser(name)
        if name == "execute":
            command.add_argument("run")
        elif name != "status":
            command.add_argument("--run", default="")
        command.add_argument("--dataset", required=True)
        command.add_argument("--profile", required=True)
        command.add_argument("--seeds", default="0")
    chosen = parser.parse_args(arguments)
    where = (chosen.dataset, chosen.profile, chosen.seeds)
    try:
        if chosen.command == "execute":
            return execute_one(chosen.run, *where)
        if chosen.command == "verify":
            from shoplens.study.verify import verify  # pandas is slow to import, and only this command reads tables

            return verify(*where, chosen.run)
        if chosen.command == "graph":
            graph(*where, chosen.run)
        elif chosen.command == "status":
            status(*where)
        else:
            accept_reference(*where, chosen.run)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
