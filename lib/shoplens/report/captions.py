"""report.yml: what the report shows, in which sections, and the caption of every table and figure."""

from fnmatch import fnmatch

from shoplens import paths
from shoplens.errors import StudyError
from shoplens.report.tables import PAPERS
from shoplens.strict_yaml import read_yaml


def load_words() -> dict[str, dict]:
    """The keys `sections`, `captions` and `papers` of report.yml; StudyError with the place in it that is not as its
    head says."""
    words = read_yaml(paths.root() / "report.yml", "it says what the report shows, restore it from git")
    for key in ("sections", "captions", "papers"):
        if not isinstance(words, dict) or not isinstance(words.get(key), dict):
            raise StudyError(f"report.yml: `{key}:` is missing or not a mapping")
    for heading, section in words["sections"].items():
        shows = section.get("shows") if isinstance(section, dict) else None
        if not isinstance(shows, list) or not all(isinstance(text, str) for text in (section.get("intro"), *shows)):
            raise StudyError(f"report.yml, sections, {heading}: expected `intro:`, a text, and `shows:`, a list")
    for key in ("captions", "papers"):
        for name, caption in words[key].items():
            if not isinstance(caption, str):
                raise StudyError(f"report.yml, {key}, {name}: the caption is missing or no text")
    for name in PAPERS:
        if name not in words["papers"]:
            raise StudyError(f"report.yml: `papers:` has no caption for {name}; write one, the paper's table needs it")
    return words


def caption_of(captions: dict[str, str], name: str) -> str:
    """Caption of an output ("figures/fig5_curves"): the first pattern that fits; "" where none does. {} in a caption is
    what the * at the pattern's end stands for."""
    fits = next((pattern for pattern in captions if fnmatch(name, pattern)), None)
    return captions[fits].replace("{}", name[len(fits) - 1:]) if fits else ""
