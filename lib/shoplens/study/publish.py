"""What makes a run whole, and how a whole run is published.

papermill leaves a partial notebook behind after an exception, a killed kernel or Ctrl-C, and returns happily
after sys.exit(0) or a swallowed exception. So a run works in a staging folder; what it promised is checked here;
its executed notebook, which says that the run is done, is moved into place last.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.paths import read_json, root, write_atomic
from shoplens.sealed import file_hashes, files_in, read_sealed, write_sealed
from shoplens.study.notebook_run import FINISHED, rows_without_value
from shoplens.study.plan import RunSpec

TWINS = {".png": ".svg", ".svg": ".png", ".csv": ".md"}


def work_folder(run: RunSpec) -> Path:
    """Staging folder of an attempt: it is there while the run is executed, and after a kill."""
    return run.results / ".staging" / run.id


def report_mark(results: Path) -> Path:
    """File that says of which code and which runs index.html is; it goes when a run is published after the report."""
    return results / ".report"


def read_record(file: Path) -> dict:
    """The record of the last attempt at a run, {} if there was none; StudyError where it is not as it was written."""
    return read_sealed(file) if file.exists() else {}


def withdraw(run: RunSpec) -> None:
    """Remove what an earlier execution published: what lies in results/ belongs to a run that is done."""
    run.target.unlink(missing_ok=True)
    try:
        read_record(run.record_file)
        remove_recorded(run.record_file)
    except StudyError:      # the names are lost with the record
        for output in map(run.published, (*run.outputs, *run.optional)):
            for file in {output, output.with_suffix(TWINS.get(output.suffix, output.suffix))}:
                if file.is_file():
                    file.unlink()
        run.record_file.unlink()
    shutil.rmtree(run.results / "artefacts" / run.id, ignore_errors=True)


def remove_recorded(record: Path) -> None:
    """Remove the tables and figures that a record names, and the record, if there is one. Accepted records of the first
    build carry no hash."""
    if record.exists():
        for name in read_json(record).get("outputs", []):
            if not name.startswith("artefacts/"):
                (record.parents[1] / name).unlink(missing_ok=True)
        record.unlink()


def is_notebook(file: Path) -> bool:
    """Whether a file is there and whole: an attempt that ended badly may have left half of one."""
    try:
        return "cells" in read_json(file)
    except (OSError, ValueError):
        return False


def stopped_in(notebook: Path) -> tuple[str | None, str | None]:
    """(first line of the code cell that did not end well, its error) of a notebook as far as it came."""
    if not is_notebook(notebook):
        return None, None
    for cell in read_json(notebook)["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] != "code" or not source:
            continue
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        # A cell that killed its kernel may have a count already, but the kernel never replied to it.
        replied = "shell.execute_reply" in cell["metadata"].get("execution", ())
        if errors or cell["execution_count"] is None or not replied:
            said = [line for line in errors[0]["evalue"].splitlines() if line.strip()] if errors else []
            message = ": ".join([errors[0]["ename"], *said[:1]]) if errors else None
            return source.splitlines()[0][:80], message
    return None, None


def _declared(name: str, outputs: tuple[str, ...]) -> bool:
    """Whether a written file was declared: itself, its folder, or its twin (png and svg, csv and md)."""
    return any(Path(name).is_relative_to(output) or
               Path(name) == output.with_suffix(TWINS.get(output.suffix, output.suffix))
               for output in map(Path, outputs))


def _holds_something(path: Path) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def check_outputs(run: RunSpec) -> dict:
    """What `run.finish()` recorded; StudyError with everything a whole run would have and this one has not."""
    files = work_folder(run) / "files"
    cell, error = stopped_in(work_folder(run) / "notebook.ipynb")
    if cell:
        raise StudyError(f"{error or 'the kernel stopped'}; the cells after it did not run")
    problems = []
    if not (files / FINISHED).exists():
        problems.append("run.finish() was not reached; it must be the notebook's last call")
    if missing := [output for output in run.outputs if not _holds_something(files / output)]:
        problems.append(f"declared in study.yml but not written, or empty: {', '.join(missing)}")
    written = [path.relative_to(files).as_posix() for path in sorted(files.rglob("*")) if path.is_file()]
    if stray := [name for name in written if not _declared(name, (FINISHED, *run.outputs, *run.optional))]:
        problems.append(f"written but not declared: {', '.join(stray)}; declare it in study.yml under {run.name}")
    for name in written:
        if name.startswith("tables/") and name.endswith(".csv") and (bad := rows_without_value(files / name)):
            problems.append(f"{name}: {bad} rows have no finite `value`")
    if problems:
        raise StudyError("; ".join(problems))
    return read_json(files / FINISHED)


def publish(run: RunSpec, record: dict) -> None:
    """Move the outputs into place, write the record with their names, and move the executed notebook last."""
    work = work_folder(run)
    files = work / "files"
    outputs = sorted(path for kind in ("tables", "figures") for path in (files / kind).rglob("*") if path.is_file())
    outputs += sorted((files / "artefacts").glob("*"))
    places = [run.published(path.relative_to(files).as_posix()) for path in outputs]
    for path, place in zip(outputs, places, strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, place)
    notebook = read_json(work / "notebook.ipynb")
    notebook["metadata"]["papermill"]["output_path"] = run.target.relative_to(root()).as_posix()
    text = (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()
    names = [place.relative_to(run.results).as_posix() for place in places]
    written = file_hashes([file for place in places for file in (files_in(place) if place.is_dir() else [place])],
                          run.results)
    hashes = {file.relative_to(run.results).as_posix(): known for file, known in written.items()}
    hashes[run.target.relative_to(run.results).as_posix()] = hashlib.sha256(text).hexdigest()
    write_sealed(run.record_file, {"status": "done", **record, "outputs": names, "files": hashes})
    for folder in (run.results / "checkpoints").glob(f"{run.id}-{'[0-9a-f]' * 12}"):
        shutil.rmtree(folder)
    (run.results / "failed" / f"{run.id}.ipynb").unlink(missing_ok=True)
    write_atomic(run.target, text)
    report_mark(run.results).unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
