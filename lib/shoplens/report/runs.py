"""What became of every run, and where the numbers come from."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shoplens.errors import StudyError
from shoplens.sealed import altered
from shoplens.study.plan import RunSpec
from shoplens.study.publish import is_notebook, read_record

# What the record of a run says of where its numbers come from: heading on the page → place in the record.
ORIGINS = {"Machine": ("hardware",), "Packages": ("versions",), "Data": ("provenance", "licence"),
           "Catalogue": ("provenance", "source"), "Split, SHA-256": ("provenance", "split_sha256"),
           "Images as stored": ("provenance", "images"), "Pretrained weights": ("provenance", "weights")}


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a run. state: "done", "failed" or "not run". record: what the runner wrote of it, {} where
    there was none or it is damaged. notebook: as executed, if only as far as it came; None where there is none that can
    be read. damaged: outputs that are gone or not as they were written, name → which of the two."""

    run: RunSpec
    state: str
    record: dict
    notebook: Path | None
    damaged: dict[str, str]


def last_attempt(run: RunSpec) -> Attempt:
    """What there is of a run."""
    try:
        record = read_record(run.record_file)
        damaged = altered(run.results, record.get("files", {}))
    except StudyError:
        record, damaged = {}, {run.record_file.relative_to(run.results).as_posix(): "is not as it was written"}
    state = "done" if run.target.exists() else record.get("status", "not run")
    places = (run.target, run.results / "failed" / f"{run.id}.ipynb")
    return Attempt(run, state, record, next(filter(is_notebook, places), None), damaged)


def provenance(attempts: list[Attempt]) -> dict[str, list[str]]:
    """Time, seeds, code, packages, machines, data and weights of the runs that are done, by heading; {} if none is."""
    records = [attempt.record for attempt in attempts if attempt.state == "done" and attempt.record]
    if not records:
        return {}
    largest = max(records, key=lambda record: record.get("peak_memory_mib", 0))
    minutes = sum(record.get("wall_s", 0) for record in records) / 60
    return {"Runs": [f"{len(records)} done, {minutes:,.0f} minutes in all (one after the other); "
                     f"at most {largest.get('peak_memory_mib', 0):,.0f} MiB, {largest['run']}"],
            "Seeds": [", ".join(map(str, sorted({record["seed"] for record in records})))],
            "Code": ["; ".join(_distinct(_code(record.get("git") or {}) for record in records))],
            **{heading: _distinct(_flat(record, *place) for record in records) for heading, place in ORIGINS.items()}}


def _distinct(values: Iterable[str]) -> list[str]:
    """Each value once, the commonest first, with the number of runs where they do not all agree."""
    counts = Counter(filter(None, values))
    return [value if len(counts) == 1 else f"{value} ({n} {'runs' if n > 1 else 'run'})"
            for value, n in counts.most_common()]


def _code(git: dict) -> str:
    changed = f", with changes in {', '.join(git['dirty'])}" if git.get("dirty") else ""
    return f"{git['sha'][:12]}{changed}" if git.get("sha") else ""


def _flat(value: object, *place: str) -> str:
    """What stands at a place in a record as one line: names and values of a mapping side by side."""
    for key in place:
        value = (value or {}).get(key)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items())
    return "" if value is None else str(value)
