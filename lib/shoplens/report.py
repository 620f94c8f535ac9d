"""`make report`: results/<dataset>/<profile>/index.html, with the executed notebooks as pages beside it.

The page holds only what runs emitted and refers to it by relative paths, so it works from a file:// address and can
be copied together with its folder.
"""

import argparse
import html
import json
import re
import sys
from pathlib import Path

import mistune
import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter

from shoplens import paths
from shoplens.runner.checknb import StudyError
from shoplens.runner.study import RunSpec, load_study

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --link: light-dark(#0b57d0, #8ab4f8) }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem }
h1, h2, h3 { line-height: 1.2 } h2 { border-bottom: 1px solid var(--line); margin-top: 2.5rem }
a { color: var(--link) } .scroll { overflow-x: auto } .note { opacity: .75 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
th { background: var(--soft) }
figure { margin: 1.5rem 0 } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px }
.failed { color: light-dark(#b3261e, #f2b8b5) }
"""


def build(dataset: str, profile: str) -> Path:
    """Write index.html and html/<run>.html for whatever has been published; returns the path of the index."""
    study, results = load_study(), paths.results_dir(dataset, profile)
    repeats = (re.search(r"-s(\d+)$", notebook.stem) for notebook in (results / "notebooks").glob("*.ipynb"))
    plan = study.plan(dataset, profile, tuple(sorted({0} | {int(found[1]) for found in repeats if found})))
    for run in plan.values():
        if run.target.exists():
            _notebook_page(run.target, results / "html" / f"{run.id}.html")
    title = f"{study.datasets[dataset].get('title', dataset)} · {profile}"
    body = [f"<h1>{html.escape(title)}</h1>", _banner(profile, study.profiles[profile]),
            "<h2>Runs</h2>", _run_table(plan)]
    for run in plan.values():
        body += _emitted(run)
    page = (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
            f"<style>{STYLE}</style></head><body>{''.join(body)}{_footer(plan)}</body></html>\n")
    paths.write_atomic(results / "index.html", page.encode())
    return results / "index.html"


def _banner(profile: str, meaning: str) -> str:
    warning = " <strong>SMOKE: not a result.</strong>" if profile == "smoke" else ""
    return f'<p class="note">Profile {html.escape(profile)}: {html.escape(meaning)}.{warning}</p>'


def _notebook_page(notebook: Path, page: Path) -> None:
    """Executed notebook as one HTML file; skipped where the page is newer than the notebook."""
    if page.exists() and page.stat().st_mtime > notebook.stat().st_mtime:
        return
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
    # Empty addresses keep the page from asking the network for scripts it no longer needs.
    exporter = HTMLExporter(template_name="lab", mathjax_url="", require_js_url="", jquery_url="", mermaid_js_url="")
    text, _ = exporter.from_notebook_node(book, {"metadata": {"name": notebook.stem}})
    paths.write_atomic(page, text.encode())


def with_mathml(markdown: str) -> str:
    """Markdown with its LaTeX formulas as MathML, which browsers draw without a script; code is left alone."""
    def formula(match: re.Match) -> str:
        if match["code"]:
            return match["code"]
        shown = "block" if match["block"] else "inline"
        return convert(match["block"] or match["inline"], display=shown).replace("\n", " ")

    code, block, inline = r"(?P<code>```.*?```|`[^`\n]+`)", r"\$\$(?P<block>.+?)\$\$", r"\$(?P<inline>[^$\n]+?)\$"
    return re.sub(f"{code}|{block}|{inline}", formula, markdown, flags=re.S)


def _record(run: RunSpec) -> dict:
    return json.loads(run.record.read_text()) if run.record.exists() else {}


def _run_table(plan: dict[str, RunSpec]) -> str:
    rows = []
    for run in plan.values():
        record = _record(run)
        done = run.target.exists()
        state = "done" if done else record.get("status", "not run")
        link = f'<a href="html/{run.id}.html">read</a>' if done else ""
        if state == "failed":
            failed = f"failed/{run.id}.ipynb"
            link = f'<a href="{failed}">{failed}</a>'
        minutes = f"{record['wall_s'] / 60:.1f}" if done else ""
        memory = f"{record['peak_memory_mib']:,.0f}" if done else ""
        rows.append(f'<tr><td>{run.id}</td><td>{html.escape(run.title)}</td><td class="{state}">{state}</td>'
                    f"<td>{minutes}</td><td>{memory}</td><td>{link}</td></tr>")
    head = "".join(f"<th>{h}</th>" for h in ("run", "", "state", "minutes", "peak memory (MiB)", "executed notebook"))
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _emitted(run: RunSpec) -> list[str]:
    """Tables, figures and pages of one run, in the order study.yml declares them."""
    if not run.target.exists():
        return []
    to_html = mistune.create_markdown(plugins=["table"])
    parts = [f"<h2>{html.escape(run.title or run.id)}</h2>"]
    for output in [*run.outputs, *(o for o in run.optional if run.published(o).exists() and o not in run.outputs)]:
        file = run.published(output)
        if output.startswith("tables/"):
            twin = file.with_suffix(".md")
            parts.append(f'<div class="scroll">{to_html(twin.read_text())}</div>'
                         f'<p class="note"><a href="{output}">{output}</a></p>')
        elif output.startswith("figures/"):
            name = file.stem.removeprefix(f"{run.id}_").replace("_", " ")
            parts.append(f'<figure><img src="{output}" alt="{html.escape(name)}" loading="lazy">'
                         f'<figcaption class="note">{html.escape(name)}</figcaption></figure>')
        elif output.endswith(".html"):
            page = file.relative_to(run.results).as_posix()
            parts.append(f'<p><a href="{page}">{page}</a></p>')
    return parts


def _footer(plan: dict[str, RunSpec]) -> str:
    """Where the numbers come from: code version, packages and machines of the runs shown."""
    records = [_record(run) for run in plan.values() if run.target.exists()]
    said = []
    for key in ("git", "versions", "hardware"):
        seen = {json.dumps(r[key], sort_keys=True) for r in records if key in r}
        said += [f"<dt>{key}</dt><dd><code>{html.escape(one.strip('{}').replace(chr(34), ''))}</code></dd>"
                 for one in sorted(seen)]
    return f'<h2>Provenance</h2><dl class="note">{"".join(said)}</dl>' if said else ""


def main(arguments: list[str] | None = None) -> int:
    """Command line of the report."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.report", description=main.__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--profile", required=True)
    given = parser.parse_args(arguments)
    try:
        index = build(given.dataset, given.profile)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Report: {index.relative_to(paths.root())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
