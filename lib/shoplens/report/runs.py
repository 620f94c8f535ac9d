"""The part of the report that says of every run what became of it, and where its numbers come from."""

import json
from collections import Counter
from html import escape
from pathlib import Path

from shoplens.report.pieces import fold, scroll
from shoplens.study.plan import RunSpec

PROVENANCE = {"licence": "Data", "source": "Catalogue", "split_sha256": "Split, SHA-256", "images": "Images as stored",
              "weights": "Pretrained weights"}


def state_of(run: RunSpec) -> tuple[str, dict]:
    """("done", "failed" or "not run", the record of the last attempt, {} if there was none)."""
    record = json.loads(run.record_file.read_text(encoding="utf-8")) if run.record_file.exists() else {}
    return ("done" if run.target.exists() else record.get("status", "not run")), record


def executed(run: RunSpec) -> Path | None:
    """The executed notebook, if only as far as it came; None where the run was not run."""
    found = (run.target, run.results / "failed" / f"{run.id}.ipynb")
    return next((path for path in found if path.exists()), None)


def notebook_link(run: RunSpec, text: str) -> str:
    """Link to the page of an executed notebook; plain text where there is none."""
    return f'<a href="html/{run.id}.html">{escape(text)}</a>' if executed(run) else escape(text)


def failures(plan: dict[str, RunSpec]) -> str:
    """A warning that names the failed runs, why they failed and their notebooks; "" where none failed."""
    told = []
    for run in plan.values():
        state, record = state_of(run)
        if state == "failed":
            told.append(f"<li>{notebook_link(run, run.id)}: {escape(record.get('error', 'no reason recorded'))}</li>")
    several = "runs" if len(told) > 1 else "run"
    return (f'<div class="warning" role="alert"><strong>{len(told)} {several} failed.</strong> What failed runs '
            f"should have emitted is missing below.<ul>{''.join(told)}</ul></div>") if told else ""


def run_table(plan: dict[str, RunSpec]) -> str:
    """A row a run, linked to its executed notebook: state, minutes, peak memory. Folded under what they sum to."""
    rows, states = [], Counter()
    for run in plan.values():
        state, record = state_of(run)
        states[state] += 1
        minutes = f"{record['wall_s'] / 60:.1f}" if "wall_s" in record else ""
        memory = f"{record['peak_memory_mib']:,.0f}" if "peak_memory_mib" in record else ""
        rows.append(f'<tr><td>{notebook_link(run, run.id)}</td><td>{escape(run.title)}</td><td class="{state}">{state}'
                    f'</td><td class="number">{minutes}</td><td class="number">{memory}</td></tr>')
    head = ('<th scope="col">run</th><th scope="col">what it is</th><th scope="col">state</th>'
            '<th scope="col" class="number">minutes</th><th scope="col" class="number">peak memory, MiB</th>')
    summary = f"<b>{len(plan)} runs</b>: {', '.join(f'{n} {state}' for state, n in states.most_common())}"
    return fold(summary, scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"))


def by_notebook(plan: dict[str, RunSpec], emitted: dict[str, str]) -> str:
    """What runs emitted, folded by run and the runs by notebook. emitted: run id → HTML."""
    groups: dict[str, list[str]] = {}
    for run in plan.values():
        if executed(run):
            inner = f"<p>{notebook_link(run, 'The executed notebook')}</p>{emitted.get(run.id, '')}"
            summary = f"<code>{escape(run.id)}</code> {escape(run.title)}"
            groups.setdefault(run.notebook.stem, []).append(fold(summary, inner))
    several = {name: f"{len(runs)} runs" if len(runs) > 1 else "1 run" for name, runs in groups.items()}
    return "".join(fold(f"<b>{escape(name)}</b> · {several[name]}", "".join(runs)) for name, runs in groups.items())


def provenance(plan: dict[str, RunSpec]) -> str:
    """Time, seeds, code, packages, machines, data and weights of all runs that are done; "" where none is."""
    records = [record for state, record in map(state_of, plan.values()) if state == "done" and record]
    if not records:
        return ""
    most = max(records, key=lambda record: record.get("peak_memory_mib", 0))
    told = {"Runs": [f"{len(records)} done, {sum(record.get('wall_s', 0) for record in records) / 60:,.0f} minutes in "
                     f"all (one after the other); at most {most.get('peak_memory_mib', 0):,.0f} MiB, {most['run']}"],
            "Seeds": [", ".join(map(str, sorted({record["seed"] for record in records})))],
            "Code": ["; ".join(_distinct(records, lambda record: _code(record.get("git") or {})))],
            "Machine": _distinct(records, lambda record: _flat(record.get("hardware"))),
            "Packages": _distinct(records, lambda record: _flat(record.get("versions")))}
    told |= {heading: _distinct(records, lambda record, key=key: _flat((record.get("provenance") or {}).get(key)))
             for key, heading in PROVENANCE.items()}
    rows = "".join(f"<dt>{heading}</dt>" + "".join(f"<dd>{escape(value)}</dd>" for value in values)
                   for heading, values in told.items() if values)
    return f"<dl>{rows}</dl>"


def _distinct(records: list[dict], say) -> list[str]:
    """What the records say, each once, the commonest first, with the number of runs where they do not all agree."""
    counts = Counter(filter(None, map(say, records)))
    return [told if len(counts) == 1 else f"{told} ({n} {'runs' if n > 1 else 'run'})"
            for told, n in counts.most_common()]


def _code(git: dict) -> str:
    changed = f", with changes in {', '.join(git['dirty'])}" if git.get("dirty") else ""
    return f"{git['sha'][:12]}{changed}" if git.get("sha") else ""


def _flat(value) -> str:
    """A record's value as one line: names and values of a mapping side by side."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items())
    return "" if value is None else str(value)
