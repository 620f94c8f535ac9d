"""What makes a run whole, and how a whole run is published.

papermill leaves a partial notebook behind after an exception, a killed kernel or Ctrl-C, and returns happily
after sys.exit(0) or a swallowed exception. So a run works in a staging folder; what it promised is checked here;
its executed notebook, the Make target, is moved into place last.
"""

import csv
import json
import math
import os
import re
import shutil
from pathlib import Path

from shoplens.paths import replace_dir, root, write_atomic
from shoplens.study.plan import RunSpec

TWINS = {".png": ".svg", ".svg": ".png", ".csv": ".md"}


class RunFailed(Exception):
    """A run that did not do what it declared; `cell` is the first line of the cell it stopped in."""

    def __init__(self, message: str, cell: str | None = None):
        super().__init__(message)
        self.cell = cell


def work_folder(run: RunSpec) -> Path:
    return run.results / ".staging" / run.id


def withdraw(run: RunSpec) -> None:
    """Remove what an earlier execution published: what lies in results/ belongs to a run that is done."""
    run.target.unlink(missing_ok=True)
    if run.record.exists():
        for name in json.loads(run.record.read_text(encoding="utf-8")).get("outputs", []):
            if not name.startswith("artefacts/"):
                (run.results / name).unlink(missing_ok=True)
    shutil.rmtree(run.results / "artefacts" / run.id, ignore_errors=True)
    run.record.unlink(missing_ok=True)


def stopped_in(notebook: Path) -> tuple[str | None, str | None]:
    """(first line of the code cell that did not end well, its error) of a notebook as far as it came."""
    if not notebook.exists():
        return None, None
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] != "code" or not source or "skip-execution" in cell["metadata"].get("tags", ()):
            continue
        errors = [output for output in cell["outputs"] if output["output_type"] == "error"]
        # A cell that killed its kernel may have a count already, but the kernel never replied to it.
        replied = "shell.execute_reply" in cell["metadata"].get("execution", ())
        if errors or cell["execution_count"] is None or not replied:
            said = f"{errors[0]['ename']}: {errors[0]['evalue']}".splitlines()[0] if errors else None
            return source.splitlines()[0][:80], said
    return None, None


def _covered(name: str, outputs: tuple[str, ...]) -> bool:
    """Whether a written file was declared: itself, its folder, or its twin (png and svg, csv and md)."""
    path = Path(name)
    return any(
        path == Path(output)
        or path.is_relative_to(output)
        or (path.with_suffix("") == Path(output).with_suffix("") and TWINS.get(Path(output).suffix) == path.suffix)
        for output in outputs
    )


def _holds_something(path: Path) -> bool:
    files = path.rglob("*") if path.is_dir() else [path]
    return any(file.is_file() and file.stat().st_size for file in files)


def _bad_values(path: Path) -> int:
    """Rows of a CSV whose `value` is missing or not finite."""
    with open(path, newline="", encoding="utf-8") as file:
        values = [row["value"] for row in csv.DictReader(file) if "value" in row]

    def bad(text: str) -> bool:
        try:
            return not math.isfinite(float(text))
        except ValueError:
            return not text
    return sum(map(bad, values))


def verify(run: RunSpec) -> dict:
    """What `run.finish()` recorded; RunFailed with everything a whole run would have and this one has not."""
    files = work_folder(run) / "files"
    cell, error = stopped_in(work_folder(run) / "notebook.ipynb")
    if cell:
        raise RunFailed(f"{error or 'the kernel stopped'}; the cells after it did not run", cell)
    problems = []
    if not (files / "finished.json").exists():
        problems.append("run.finish() was not reached; it must be the notebook's last call")
    missing = [output for output in run.outputs if not _holds_something(files / output)]
    if missing:
        problems.append(f"declared in study.yml but not written, or empty: {', '.join(missing)}")
    written = [p.relative_to(files).as_posix() for p in sorted(files.rglob("*")) if p.is_file()]
    stray = [name for name in written if name != "finished.json" and not _covered(name, run.outputs + run.optional)]
    if stray:
        problems.append(f"written but not declared: {', '.join(stray)}; declare it in study.yml under {run.name}")
    for name in written:
        if name.startswith("tables/") and name.endswith(".csv") and _bad_values(files / name):
            problems.append(f"{name}: {_bad_values(files / name)} rows have no finite `value`")
    if problems:
        raise RunFailed("; ".join(problems))
    return json.loads((files / "finished.json").read_text(encoding="utf-8"))


def publish(run: RunSpec) -> list[str]:
    """Move the outputs into place; their names relative to the results folder (artefacts: top entries)."""
    files = work_folder(run) / "files"
    names = []
    for file in sorted(p for kind in ("tables", "figures") for p in (files / kind).rglob("*") if p.is_file()):
        name = file.relative_to(files)
        (run.results / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, run.results / name)
        names.append(name.as_posix())
    if (files / "artefacts").exists():
        final = run.results / "artefacts" / run.id
        final.parent.mkdir(parents=True, exist_ok=True)
        replace_dir(files / "artefacts", final)
        names += [f"artefacts/{run.id}/{path.name}" for path in sorted(final.iterdir())]
    return names


def publish_notebook(run: RunSpec) -> None:
    """The executed notebook to its target, the papermill record in it pointing at where it ends up."""
    executed = work_folder(run) / "notebook.ipynb"
    notebook = json.loads(executed.read_text(encoding="utf-8"))
    notebook["metadata"]["papermill"]["output_path"] = run.target.relative_to(root()).as_posix()
    write_atomic(executed, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode())
    run.target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(executed, run.target)


def write_json(path: Path, record: dict) -> None:
    write_atomic(path, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def remove_checkpoints(run: RunSpec) -> None:
    for folder in (run.results / "checkpoints").glob(f"{run.id}-*"):
        if re.fullmatch(re.escape(run.id) + "-[0-9a-f]{12}", folder.name):
            shutil.rmtree(folder)
