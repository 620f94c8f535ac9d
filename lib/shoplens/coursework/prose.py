"""Prose of the study's notebooks by heading, and texts of another language.

In a Markdown cell of a source, a line of its own is replaced:
{{head}}                 objectives, paper and sections of the study's notebook, minutes and points of this one
{{prose: HEADING}}       that section of the study's notebook, down to its last formula (all of it, if it has none)
{{formulas: HEADING}}    the formulas of that section alone
Headings are named without their numbers, which may change.
"""

import json
import re
from pathlib import Path

from shoplens import paths
from shoplens.coursework.course import KINDS, Sheet, folder
from shoplens.errors import StudyError
from shoplens.strict_yaml import read_yaml

DIRECTIVE = re.compile(r"^\{\{(\w+)(?:: *(.+?))? *\}\}$", re.MULTILINE)
HEADING = re.compile(r"^(#+) +(.*)$")
FORMULA = re.compile(r"\$\$.*?\$\$", re.DOTALL)
GOALS = re.compile(r"\*\*Afterwards you will be able to\*\*\n((?:- .*\n?)+)")
PAPER = re.compile(r"^\*\*P[12]\*\* .*$", re.MULTILINE)


def heading(text: str) -> str:
    """Title of the first heading of a Markdown text without its number; "" where it has none."""
    for line in text.splitlines():
        if found := HEADING.match(line):
            return re.sub(r"^\d+[a-z]?\. +", "", found[2]).strip()
    return ""


class Study:
    """The Markdown of one of the study's notebooks, by heading."""

    def __init__(self, file: Path):
        self.file = file
        try:
            cells = json.loads((paths.root() / file).read_text(encoding="utf-8"))["cells"]
        except FileNotFoundError:
            raise StudyError(f"course.yml names {file}, which is not there") from None
        self.texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        self.sections = {}
        for part in (part for text in self.texts for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE)):
            if title := heading(part):
                self.sections.setdefault(title, part.split("\n", 1)[1].strip() if "\n" in part else "")

    def section(self, title: str, source: str) -> str:
        """Text below a heading; StudyError, with the headings there are, where it is gone."""
        if title not in self.sections:
            raise StudyError(f"{source}: {self.file} has no heading {title!r}; it has "
                             f"{', '.join(repr(t) for t in self.sections)}")
        return self.sections[title]

    def find(self, pattern: re.Pattern, what: str, source: str) -> str:
        """First match of a pattern, its first group where it has one."""
        for text in self.texts:
            if found := pattern.search(text):
                return found[found.re.groups and 1].strip()
        raise StudyError(f"{source}: {self.file} does not say {what}")


def expand(text: str, sheet: Sheet, study: Study, source: str) -> str:
    """`text` with its directives replaced. StudyError names `source` and what is not there."""
    def replaced(found):
        name, title = found[1], found[2]
        if name == "head" and not title:
            return _head(sheet, study, source)
        if name not in ("prose", "formulas") or not title:
            raise StudyError(f"{source}: {found[0]} is none of {{{{head}}}}, {{{{prose: …}}}}, {{{{formulas: …}}}}")
        section = study.section(title, source)
        formulas = list(FORMULA.finditer(section))
        if name == "prose":
            return section[:formulas[-1].end()] if formulas else section
        if not formulas:
            raise StudyError(f"{source}: section {title!r} of {study.file} has no formula")
        return "\n\n".join(formula[0] for formula in formulas)
    return DIRECTIVE.sub(replaced, text)


def _head(sheet: Sheet, study: Study, source: str) -> str:
    rows = "\n".join(f"| {e.name} | {e.title} | {KINDS[e.kind]} | {e.points} | {e.minutes} |" for e in sheet.exercises)
    needs = "".join(f"\n\n{e.name} needs {e.needs}." for e in sheet.exercises if e.needs)
    points = sum(e.points for e in sheet.exercises)
    return (f"{study.find(PAPER, 'which sections of a paper it is about', source)}\n\n"
            f"Belongs to `{study.file}`. {sheet.minutes} minutes, {points} points. Needs NumPy and Matplotlib.\n\n"
            f"**Afterwards you will be able to**\n{study.find(GOALS, 'what readers will be able to do', source)}\n\n"
            f"| exercise | what | kind | points | minutes |\n| --- | --- | --- | --- | --- |\n{rows}{needs}")


def translations(language: str, sheet: Sheet) -> dict[str, str]:
    """Heading of a Markdown cell → the cell in another language; nothing for "" or a notebook without such texts."""
    if not language:
        return {}
    file = folder() / "text" / f"{language}.yml"
    return read_yaml(file, f"TEXT={language} takes texts from there").get(sheet.name, {})
