"""`make report`: results/<dataset>/<profile>/index.html, with the executed notebooks as pages beside it.

The page holds only what runs emitted and the papers' own tables, and refers to it by relative paths: it works from a
file:// address and can be copied together with its folder. Its order and captions are in report.yml, its HTML in
templates/, where every text that is not a template's own is escaped.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from shoplens import paths
from shoplens.errors import StudyError
from shoplens.report import tables
from shoplens.report.captions import caption_of, load_words
from shoplens.report.cards import cards
from shoplens.report.notebook_pages import write_page
from shoplens.report.runs import last_attempt, provenance
from shoplens.statistics.verdicts import TONES
from shoplens.study.notebook_run import NOT_A_RESULT
from shoplens.study.plan import RunSpec, Study, load_study

SHOWN = {"tables": ".csv", "figures": ".png", "artefacts": ".html"}      # the ending of what is shown of each kind
DENSITY = 1.5   # pixels of a figure per pixel of the page: figures are drawn for paper, and dense screens show all
LONGEST = 60    # characters; a table with a longer cell is prose and wraps
NUMBER = re.compile(r"[+−-]?\d|–$|$")


@dataclass(frozen=True)
class Output:
    """What a run emitted. name: as in study.yml, without ending ("tables/table1_gains"). title: what the run calls a
    table, else the end of the name ("curves"). link: the file's address seen from index.html."""

    name: str
    run: RunSpec
    file: Path
    title: str
    link: str


def build(dataset: str, profile: str) -> Path:
    """Write index.html and html/<run>.html for whatever has been published; returns the path of the index.

    Raises StudyError for a dataset or profile that study.yml does not know, and for a mistake in report.yml.
    """
    study, words, results = load_study(), load_words(), paths.results_dir(dataset, profile)
    plan = study.plan(dataset, profile, _seeds(study, results))
    attempts = [last_attempt(run) for run in plan.values()]
    for attempt in attempts:
        if attempt.notebook:
            write_page(attempt.notebook, results / "html" / f"{attempt.run.id}.html")
    damaged = {attempt.run.id: attempt.damaged for attempt in attempts if attempt.damaged}
    for name, files in damaged.items():
        file, what = next(iter(files.items()))
        print(f"Left out of the report: what {name} wrote, for {file} {what}; make reproduce makes it again")
    outputs = emitted({name: run for name, run in plan.items() if name not in damaged})
    sections = {heading: _section(section["shows"], outputs) for heading, section in words["sections"].items()}
    shown = [output for items in sections.values() for output, _ in items]
    folders = {output.file.parent for output in outputs if output.file.suffix == ".csv" and not damaged}
    parts = {"At a glance": [card for folder in folders for card in cards(folder)], **sections, "Runs": attempts,
             "Provenance": provenance(attempts)}
    text = _templates().get_template("page.html").render(
        title=study.datasets[dataset].get("title", dataset), profile=profile, meaning=study.profiles[profile],
        warning=NOT_A_RESULT.get(profile), words=words, attempts=attempts,
        parts={heading: content for heading, content in parts.items() if content},
        rest=[output for output in outputs if output not in shown])
    paths.write_atomic(results / "index.html", text.encode())
    return results / "index.html"


def _seeds(study: Study, results: Path) -> tuple[int, ...]:
    """Seeds of the repeated runs there are, failed ones too; 0 where there are none yet. A seed that nobody ran would
    take the place of the first one in runs that are done for the first only."""
    ids = {notebook.stem for folder in ("notebooks", "failed") for notebook in (results / folder).glob("*.ipynb")}
    parts = [re.fullmatch(r"(.+?)(?:-s(\d+))?", run_id) for run_id in ids]
    found = {int(part[2] or 0) for part in parts if study.runs.get(part[1], {}).get("seeds")}
    return tuple(sorted(found)) or (0,)


def emitted(plan: dict[str, RunSpec]) -> list[Output]:
    """Declared outputs of the runs that are done, of those that exist and can be shown."""
    found = []
    for run in plan.values():
        for output in dict.fromkeys((*run.outputs, *run.optional)):
            name, file = output.rsplit(".", 1)[0], run.published(output)
            if run.target.exists() and file.exists() and SHOWN[output.split("/")[0]] == file.suffix:
                title = tables.title(file) or Path(name).name.removeprefix(f"{run.id}_").replace("_", " ")
                found.append(Output(name, run, file, title, file.relative_to(run.results).as_posix()))
    return found


def _section(shows: list[str], outputs: list[Output]) -> list[tuple[Output, bool]]:
    """What a section shows, each with whether it is folded. shows: as in report.yml."""
    patterns = {line.removeprefix("folded "): line.startswith("folded ") for line in shows}
    return [(output, folded) for pattern, folded in patterns.items() for output in outputs
            if fnmatch(output.name, pattern)]


def _templates() -> Environment:
    """The templates, with what they compute on their own."""
    templates = Environment(loader=PackageLoader("shoplens.report"), autoescape=True, undefined=StrictUndefined,
                            trim_blocks=True, lstrip_blocks=True)
    templates.globals |= {"TONES": TONES, "caption_of": caption_of, "size_of": _size_of,
                          "table_of_run": tables.table_of_run, "table_of_paper": tables.table_of_paper}
    templates.filters["numeric_columns"] = lambda text: [all(map(NUMBER.match, text[name])) for name in text]
    templates.tests["prose"] = lambda text: (text.map(len) > LONGEST).any(axis=None)
    return templates


def _size_of(figure: Path) -> tuple[int, int]:
    """Width and height of a figure on the page; OSError where the file is no picture."""
    with Image.open(figure) as picture:
        return round(picture.width / DENSITY), round(picture.height / DENSITY)


def main(arguments: list[str] | None = None) -> int:
    """Command line of the report."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.report.index_page", description=main.__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--profile", required=True)
    given = parser.parse_args(arguments)
    try:
        index = build(given.dataset, given.profile)
    except (StudyError, OSError) as error:      # OSError: a disk that is full, a folder nobody may write to
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"Report: {index.relative_to(paths.root())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
