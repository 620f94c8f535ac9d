"""Pieces of the report page as HTML. Every text that comes from outside is escaped here, and only here."""

import re
from fnmatch import fnmatch
from html import escape
from pathlib import Path

import pandas as pd
from PIL import Image

from shoplens import paths
from shoplens.errors import StudyError
from shoplens.report.cards import Card
from shoplens.strict_yaml import read_yaml

# Verdicts and the tone they are shown in; the words are always there too.
TONES = {"better": "yes", "reproduced": "yes", "true": "yes", "direction only": "rather",
         "true, inside the noise": "rather", "true, noise not known": "rather", "inside the noise": "unclear",
         "worse": "no", "not reproduced": "no", "not true of its table": "no", "not testable here": "none",
         "no numbers": "none"}
NUMBER = re.compile(r"[+−-]?\d|–$|$")
DENSITY = 1.5   # pixels of a figure in one of the page's: they are drawn for paper, and dense screens show all
WORDS = 60      # characters; a table with a longer cell is prose and wraps


def load_words() -> dict[str, dict]:
    """report.yml: sections, captions and papers; StudyError with the place in it that is not as its head says."""
    words = read_yaml(paths.root() / "report.yml", "it says what the report shows, restore it from git")
    for key in ("sections", "captions", "papers"):
        if not isinstance(words, dict) or not isinstance(words.get(key), dict):
            raise StudyError(f"report.yml: `{key}:` is missing or not a mapping")
    for heading, told in words["sections"].items():
        if not _is_section(told):
            raise StudyError(f"report.yml, sections, {heading}: expected `intro:`, a text, and `shows:`, a list")
    for key in ("captions", "papers"):
        for name, caption in words[key].items():
            if not isinstance(caption, str):
                raise StudyError(f"report.yml, {key}, {name}: the caption is missing or no text")
    return words


def _is_section(told: object) -> bool:
    shows = told.get("shows") if isinstance(told, dict) else None
    return isinstance(shows, list) and all(isinstance(text, str) for text in (told.get("intro"), *shows))


def caption_of(captions: dict[str, str], name: str) -> str:
    """Caption of an output ("figures/fig5_curves"): the first pattern that fits; "" where none does. {} in a caption is
    what the * at the pattern's end stands for."""
    fits = next((pattern for pattern in captions if fnmatch(name, pattern)), None)
    return captions[fits].replace("{}", name[len(fits) - 1:]) if fits else ""


def verdict(text: str) -> str:
    """A verdict on its tone."""
    return f'<span class="verdict {TONES[text]}">{escape(text)}</span>'


def table(frame: pd.DataFrame) -> str:
    """A table in a box of its own to scroll in. Verdicts get their tone; "verdict · more" is a verdict and a remark."""
    text = frame.astype(str)
    aligned = [' class="number"' if all(NUMBER.match(cell) for cell in text[column]) else "" for column in text]
    head = "".join(f'<th scope="col"{how}>{escape(name)}</th>' for name, how in zip(text, aligned, strict=True))
    rows = []
    for row in text.itertuples(index=False, name=None):
        rows.append("".join(f"<td{how}>{_cell(cell)}</td>" for cell, how in zip(row, aligned, strict=True)))
    prose = " prose" if text.map(len).to_numpy().max(initial=0) > WORDS else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return scroll(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", prose)


def _cell(text: str) -> str:
    said, dot, more = text.partition(" · ")
    if said not in TONES:
        return escape(text)
    return verdict(said) + (f" <small>{escape(more)}</small>" if dot else "")


def scroll(inner: str, also: str = "") -> str:
    """A box that scrolls by itself, by keyboard too, so that the page never does."""
    return f'<div class="scroll{also}" tabindex="0">{inner}</div>'


def title_as_written(csv: Path) -> str:
    """The title a run gave its table, from the readable twin beside the CSV; "" where there is none."""
    twin = csv.with_suffix(".md")
    return twin.read_text(encoding="utf-8").split("\n", 1)[0].strip("*") if twin.exists() else ""


def as_written(csv: Path) -> str:
    """A table as its run wrote it for the eye, every cell as text; the CSV itself where there is no such twin, or where
    a name in it holds what stands between cells."""
    twin = csv.with_suffix(".md")
    text = twin.read_text(encoding="utf-8") if twin.exists() else ""
    lines = next((part for part in text.split("\n\n") if part.startswith("|")), "").splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    if len({len(row) for row in rows}) != 1:
        return table(pd.read_csv(csv))
    head, _, *body = rows
    return table(pd.DataFrame(body, columns=head))


def titled(caption: str, title: str = "", link: str = "") -> str:
    """What stands above a table or below a figure."""
    title = f"<strong>{escape(title)}</strong> " if title else ""
    link = f' <a href="{escape(link)}">{escape(Path(link).name)}</a>' if link else ""
    return f"<figcaption>{title}{escape(caption)}{link}</figcaption>"


def figure(file: Path, source: str, caption: str) -> str:
    """A picture on white ground, linked to itself for a closer look. source: its address. Raises OSError where the
    file is no picture."""
    with Image.open(file) as picture:
        width, height = (round(side / DENSITY) for side in picture.size)
    # The size is said so that a page of pictures not yet loaded has its length, and its links lead to the right place.
    image = (f'<img src="{escape(source)}" alt="{escape(caption.split(". ")[0])}" width="{width}" height="{height}" '
             f'style="--width: {width}px" loading="lazy">')
    return f'<figure>{scroll(f"""<a href="{escape(source)}">{image}</a>""")}{titled(caption)}</figure>'


def fold(summary: str, inner: str) -> str:
    """Something closed until clicked. summary: HTML."""
    return f"<details><summary>{summary}</summary>{inner}</details>"


def cards(told: list[Card]) -> str:
    """The headline cards."""
    shown = []
    for card in told:
        lines = "".join(f'<li><b>{escape(line.value)}</b> {verdict(line.verdict) if line.verdict else ""}'
                        f"<span>{escape(line.of)}</span></li>" for line in card.lines)
        shown.append(f"<article><h3>{escape(card.title)}</h3><ul>{lines}</ul><p>{escape(card.note)}</p></article>")
    return f'<div class="cards">{"".join(shown)}</div>'
