"""`make report`: results/<dataset>/<profile>/index.html, with the executed notebooks as pages beside it.

The page holds only what runs emitted, and the papers' own tables, and refers to it by relative paths: it works from a
file:// address and can be copied together with its folder. What it shows where, and its captions, are in report.yml.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from html import escape
from pathlib import Path

from shoplens import paths
from shoplens.errors import StudyError
from shoplens.report import cards, pieces, runs
from shoplens.report.notebook_pages import write_page
from shoplens.report.tables import LAYOUTS, read
from shoplens.study.notebook_run import NOT_A_RESULT
from shoplens.study.plan import RunSpec, Study, load_study

ABOUT = ("Two papers on product pictures, done over with everything open: <i>Structure-Aware Deep Learning for Product "
         "Image Classification</i> (2019, P1) and <i>Feature Learning with Rank-Based Candidate Selection for Product "
         "Search</i> (2017, P2). This page shows what the runs on one data set found; every number in it was written "
         "by a run, or stands in a paper and says so.")
SHOWN = {"tables": ".csv", "figures": ".png", "artefacts": ".html"}      # what of each kind of output


@dataclass(frozen=True)
class Emitted:
    """An output that is there: the run it is of, its file, and its address seen from index.html."""

    run: RunSpec
    file: Path
    link: str


def build(dataset: str, profile: str) -> Path:
    """Write index.html and html/<run>.html for whatever has been published; returns the path of the index.

    Raises StudyError for a dataset or profile that study.yml does not know, and for a mistake in report.yml.
    """
    study, results = load_study(), paths.results_dir(dataset, profile)
    plan = study.plan(dataset, profile, _seeds(study, results))
    for run in plan.values():
        if notebook := runs.executed(run):
            write_page(notebook, results / "html" / f"{run.id}.html")
    title = study.datasets[dataset].get("title", dataset)
    text = page(title, profile, study.profiles[profile], plan)
    paths.write_atomic(results / "index.html", text.encode())
    return results / "index.html"


def _seeds(study: Study, results: Path) -> tuple[int, ...]:
    """Seeds of the repeated runs there are, failed ones too; 0 where there are none yet. A seed that nobody ran would
    take the place of the first one in runs that are done for the first only."""
    ids = {notebook.stem for folder in ("notebooks", "failed") for notebook in (results / folder).glob("*.ipynb")}
    parts = [re.fullmatch(r"(.+?)(?:-s(\d+))?", run_id) for run_id in ids]
    found = {int(part[2] or 0) for part in parts if study.runs.get(part[1], {}).get("seeds")}
    return tuple(sorted(found)) or (0,)


def page(title: str, profile: str, meaning: str, plan: dict[str, RunSpec]) -> str:
    """The whole page. meaning: what study.yml says of the profile."""
    words, there = pieces.load_words(), emitted(plan)
    sections = _at_a_glance(there)
    shown: set[str] = set()
    for heading, told in words["sections"].items():
        parts, names = _section(told["shows"], there, words)
        if parts:
            sections[heading] = f"<p class=\"intro\">{escape(told['intro'])}</p>{parts}"
            shown |= names
    sections["Runs"] = _runs(plan, there, shown, words)
    if told := runs.provenance(plan):
        sections["Provenance"] = told
    anchors = {heading: heading.lower().replace(" ", "-") for heading in sections}
    contents = "".join(f'<a href="#{anchor}">{heading}</a>' for heading, anchor in anchors.items())
    body = "".join(f'<section id="{anchors[heading]}"><h2>{heading}</h2>{inner}</section>'
                   for heading, inner in sections.items())
    warning = f'<p class="warning"><strong>{NOT_A_RESULT[profile]}.</strong></p>' if profile in NOT_A_RESULT else ""
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<title>{escape(title)} · {escape(profile)}</title><style>\n{style}</style></head>\n"
            f"<body><header><h1>{escape(title)}</h1><p>{ABOUT}</p>"
            f'<p class="note">Profile <b>{escape(profile)}</b>: {escape(meaning)}.</p>'
            f"{warning}{runs.failures(plan)}<nav aria-label=\"Contents\">{contents}</nav></header>\n"
            f"<main>{body}</main></body></html>\n")


def emitted(plan: dict[str, RunSpec]) -> dict[str, Emitted]:
    """Declared outputs of the runs that are done and that exist, by name without ending ("tables/table1_gains")."""
    found = {}
    for run in plan.values():
        for output in dict.fromkeys((*run.outputs, *run.optional)):
            file = run.published(output)
            if run.target.exists() and file.exists() and SHOWN[output.split("/")[0]] == file.suffix:
                name = output.rsplit(".", 1)[0]
                found[name] = Emitted(run, file, file.relative_to(run.results).as_posix())
    return found


def _at_a_glance(there: dict[str, Emitted]) -> dict[str, str]:
    """The cards, under a heading where there are some."""
    tables = {one.file.parent for name, one in there.items() if name.startswith("tables/")}
    told = [card for folder in tables for card in cards.cards(folder)]
    return {"At a glance": pieces.cards(told)} if told else {}


def _section(shows: list[str], there: dict[str, Emitted], words: dict) -> tuple[str, set[str]]:
    """What a section shows of what is there, and the names of it."""
    parts, names = [], []
    for line in shows:
        folded, pattern = line.startswith("folded "), line.removeprefix("folded ")
        for name in (name for name in there if fnmatch(name, pattern)):
            names.append(name)
            inner = show(name, there[name], words)
            parts.append(pieces.fold(escape(title_of(name, there[name])), inner) if folded else inner)
    return "".join(parts), set(names)


def show(name: str, one: Emitted, words: dict) -> str:
    """One output as HTML: a table with the paper's beside it where there is one, a figure, a link to a page. StudyError
    where report.yml has no words for the paper's."""
    caption = pieces.caption_of(words["captions"], name)
    if name.startswith("figures/"):
        return pieces.figure(one.file, one.link, caption or title_of(name, one))
    if one.file.suffix == ".html":
        return f'<p><a class="button" href="{escape(one.link)}">{escape(caption or title_of(name, one))}</a></p>'
    layout = LAYOUTS.get(name)
    own = pieces.table(layout.view(read(one.file))) if layout else pieces.as_written(one.file)
    told = pieces.titled(caption, title_of(name, one), one.link)
    ours = f'<figure class="table">{told}{own}</figure>'
    theirs = layout.of_paper() if layout else None
    if theirs is None:
        return ours
    if name not in words["papers"]:
        raise StudyError(f"report.yml: `papers:` has no caption for {name}, beside which a table of the paper is shown")
    told = pieces.titled("", words["papers"][name])
    return f'<div class="beside">{ours}<figure class="table paper">{told}{pieces.table(theirs)}</figure></div>'


def title_of(name: str, one: Emitted) -> str:
    """What a run calls its table; else the name of the output: "figures/02_bcnn_curves" of 02_bcnn → "curves"."""
    called = pieces.title_as_written(one.file) if one.file.suffix == ".csv" else ""
    return called or name.split("/")[-1].removeprefix(f"{one.run.id}_").replace("_", " ")


def _runs(plan: dict[str, RunSpec], there: dict[str, Emitted], shown: set[str], words: dict) -> str:
    """The run table, and folded under each run what no section shows."""
    rest: dict[str, str] = {}
    for name, one in there.items():
        if name not in shown:
            rest[one.run.id] = rest.get(one.run.id, "") + show(name, one, words)
    return (f"{runs.run_table(plan)}<p>Everything else the runs emitted, and their executed notebooks, by "
            f"notebook:</p>{runs.by_notebook(plan, rest)}")


def main(arguments: list[str] | None = None) -> int:
    """Command line of the report."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.report.index_page", description=main.__doc__)
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
