"""`make readme`: the tables and numbers of README.md, written from the accepted results in results/reference/.

README.md marks where each belongs, and only what stands between two marks is rewritten:

    <!-- table1-fashion: made by make readme -->
    <!-- end -->
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from shoplens.classification.comparison import as_in_paper, paper_table
from shoplens.errors import StudyError
from shoplens.paths import root, write_atomic
from shoplens.search.trained_networks import SELECTIONS, as_in_table4
from shoplens.study.plan import Study, load_study

PROFILE = "laptop"
MARK = re.compile(r"(?m)^<!-- (?:(?P<name>[^:\n]*): made by make readme|end) -->$")
ON_RUNS = ("reproduced", "direction only", "inside the noise", "not reproduced", "not testable here")
ON_PAPERS = ("true", "true, inside the noise", "true, noise not known", "not true of its table", "no numbers")
THE_PAPERS = "the paper's table"        # `where` of claims.csv, for statements checked on the papers' own numbers
EMPHASIS = {"better": "**", "worse": "*"}
FEATURES = {"G": "global", "L": "local"}


@dataclass(frozen=True)
class Block:
    """A marked place of README.md: text[start:end] stands between its two marks."""

    name: str
    start: int
    end: int


def marked(text: str) -> list[Block]:
    """The blocks of a README in order; StudyError for a mark without its partner."""
    found, opened = [], None
    for mark in MARK.finditer(text):
        if opened and mark["name"] is not None:
            break
        if mark["name"] is not None:
            opened = mark
        elif opened:
            found.append(Block(opened["name"], opened.end() + 1, mark.start()))
            opened = None
        else:
            raise StudyError(f"README.md, line {_line(text, mark.start())}: `{mark[0]}` ends no block; a block starts "
                             "with `<!-- NAME: made by make readme -->`")
    if opened:
        raise StudyError(f"README.md, line {_line(text, opened.start())}: block {opened['name']} has no "
                         "`<!-- end -->` before the next block or the end of the file")
    return found


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def contents(text: str) -> list[tuple[Block, str]]:
    """Each block of a README with what belongs in it; StudyError for a name that is none of `makers`."""
    known, found = makers(load_study()), marked(text)
    for block in found:
        if block.name not in known:
            raise StudyError(f"README.md, line {_line(text, block.start) - 1}: there is no block {block.name}; choose "
                             f"one of: {', '.join(known)}")
    return [(block, f"\n{known[block.name]()}\n\n") for block in found]


def makers(study: Study) -> dict[str, Callable[[], str]]:
    """Block name → function that writes its markdown."""
    made = {"cost": partial(cost, study), "verdicts": partial(verdicts, study)}
    for dataset, told in study.datasets.items():
        made[f"table1-{dataset}"] = partial(table1, dataset)
        if "search" in (told.get("capabilities") or ()):
            made[f"table4-{dataset}"] = partial(table4, dataset)
    return made


def rewritten(text: str) -> str:
    """A README with every block as it should be, and the rest as it was."""
    parts, done = [], 0
    for block, content in contents(text):
        parts += [text[done:block.start], content]
        done = block.end
    return "".join([*parts, text[done:]])


def first_difference(text: str) -> str | None:
    """The first line of a README that its block would not hold, as a sentence; None where there is none."""
    for block, content in contents(text):
        lines = zip_longest(text[block.start:block.end].splitlines(), content.splitlines(), fillvalue="(nothing)")
        for number, (says, should) in enumerate(lines, start=_line(text, block.start)):
            if says != should:
                says, should = says or "(an empty line)", should or "(an empty line)"
                return f"README.md, block {block.name}, line {number}: `{says}` should be `{should}`; make readme"
    return None


def _accepted(dataset: str, name: str) -> pd.DataFrame | None:
    file = root() / "results" / "reference" / dataset / PROFILE / "tables" / f"{name}.csv"
    return pd.read_csv(file) if file.exists() else None


def _markdown(head: list[str], rows: list[list]) -> str:
    """A table without padding: a number that changes changes one line."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))


def _prose(*sentences: str) -> str:
    return textwrap.fill(" ".join(sentences), 120, break_on_hyphens=False, break_long_words=False)


def _spread(table: pd.DataFrame, by: list[str]) -> str:
    """How many seeds stand behind the cells of a table."""
    counts = table.groupby(by)["seed"].nunique()
    if counts.max() == 1:
        return "one seed"
    few = f"{counts.min()} to " if counts.min() < counts.max() else ""
    return f"mean ± standard deviation over {few}{counts.max()} seeds"


def _cells(row: pd.Series, columns: list[str]) -> list[str]:
    return [row.get(column) or "–" for column in columns]


def table1(dataset: str) -> str:
    """P1's Table 1 on a data set: top-1 scores, the paper's own below each, bold and italic by `table1_gains`."""
    table, gains = _accepted(dataset, "table1_classification"), _accepted(dataset, "table1_gains")
    if table is None or gains is None:
        return f"Not run yet: P1's variants on `{dataset}` have no accepted results."
    table, paper = table[table["k"] == 1], paper_table("p1_table1").query("k == 1")
    ours, theirs = (as_in_paper(one).set_index("score") for one in (table, paper))
    for gain in gains[gains["verdict"].isin(EMPHASIS)].itertuples():
        place = f"{gain.metric} top-1, {gain.subset}", gain.variant
        ours.loc[place] = f"{EMPHASIS[gain.verdict]}{ours.loc[place]}{EMPHASIS[gain.verdict]}"
    columns = [*theirs.columns, *(name for name in ours.columns if name not in theirs.columns)]
    rows = []
    for score in ours.index:
        rows.append([score, f"`{dataset}`", *_cells(ours.loc[score], columns)])
        rows.append([score, "P1: ALISC", *_cells(theirs.loc[score], columns)])
    images = " and ".join(f"{own['n'].iloc[0]} {subset}" for subset, own in table.groupby("subset", sort=False))
    return "\n\n".join([_markdown(["score", "images", *columns], rows), _prose(
        f"Percent of {images} test images of `{dataset}`, {_spread(table, ['subset', 'variant'])}. Bold: better than "
        "bCNN beyond the noise, italic: worse (notebook 07 says how that is judged). The rows of P1 are the paper's "
        "own, on other images: compare directions, not digits.")])


def table4(dataset: str) -> str:
    """P2's Table 4 on a data set: test MAP@20 by protocol, the paper's own validation numbers below."""
    table = _accepted(dataset, "table4_candidate_selection")
    if table is None:
        return f"Not run yet: P2's selections on `{dataset}` have no accepted results."
    columns = ["pre-trained", *SELECTIONS]
    chosen = (table["split"] == "test") & table["feature"].isin(FEATURES) & table["selection"].isin(columns)
    table = table[chosen].assign(feature=table["feature"].map(FEATURES))
    rows = [[f"`{dataset}`, {row['protocol']}: test", row["feature"], *_cells(row, columns)]
            for _, row in as_in_table4(table).iterrows()]
    paper = paper_table("p2_table4").query("split == 'val'").assign(protocol="P2: AlibabaM, validation")
    rows += [[row["protocol"], row["feature"], *_cells(row, columns)] for _, row in as_in_table4(paper).iterrows()]
    queries = ", ".join(f"{own['n'].iloc[0]} ({name})" for name, own in table.groupby("protocol", sort=False))
    return "\n\n".join([_markdown(["images", "feature", *columns], rows), _prose(
        f"MAP@20 over the test queries of `{dataset}`: {queries}; "
        f"{_spread(table, ['protocol', 'feature', 'selection'])}. The last rows are P2's own, over the validation "
        "queries of other images.")])


def verdicts(study: Study) -> str:
    """How many of the papers' statements held on each data set, and on the papers' own tables."""
    found = {dataset: _accepted(dataset, "claims") for dataset in study.datasets}
    found = {dataset: table for dataset, table in found.items() if table is not None}
    if not found:
        return "Not run yet: no data set has accepted verdicts."
    first = next(iter(found.values()))
    on_runs = [[f"`{dataset}`", *_counts(table[table["where"] != THE_PAPERS], ON_RUNS)]
               for dataset, table in found.items()]
    on_papers = [["the papers' own tables", *_counts(first[first["where"] == THE_PAPERS], ON_PAPERS)]]
    return "\n\n".join([
        _markdown(["statements checked on", *ON_RUNS], on_runs),
        _markdown(["statements checked on", *ON_PAPERS], on_papers),
        _prose("Numbers of statements; one about search counts once a protocol.")])


def _counts(table: pd.DataFrame, verdicts: tuple[str, ...]) -> list[int]:
    counts = table["verdict"].value_counts()
    if unknown := sorted(set(counts.index) - set(verdicts)):
        raise StudyError(f"claims.csv holds verdicts that README.md has no column for: {', '.join(unknown)}")
    return [int(counts.get(verdict, 0)) for verdict in verdicts]


def cost(study: Study) -> str:
    """What the accepted runs took: a row a data set, profile and seed."""
    rows = []
    for dataset in study.datasets:
        for profile in study.profiles:
            folder = root() / "results" / "reference" / dataset / profile / "runs"
            records = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))]
            for seed in sorted({record["seed"] for record in records}):
                own = [record for record in records if record["seed"] == seed]
                rows.append([f"`{dataset}`", profile, seed, *_spent(own)])
    if not rows:
        return "Not run yet: there are no accepted runs."
    head = ["data set", "size", "seed", "notebooks", "runs", "minutes", "peak memory (GiB)", "machine"]
    return _markdown(head, rows)


def _spent(records: list[dict]) -> list[str | int]:
    """Notebooks, number of runs, their minutes together, the largest memory of one, the machines."""
    notebooks = {Path(record["notebook"]).stem.split("_")[0] for record in records}
    minutes = sum(record["wall_s"] for record in records) / 60
    memory = max(record["peak_memory_mib"] for record in records) / 1024
    machines = dict.fromkeys(_in_words(record["hardware"]) for record in records)
    return [" ".join(sorted(notebooks)), len(records), f"{minutes:.0f}", f"{memory:.1f}", "; ".join(machines)]


def _in_words(hardware: dict) -> str:
    cpu = re.sub(r"\((?:R|TM)\)", "", hardware["cpu"])
    graphics = f", {hardware['gpus']} × {hardware['gpu']}" if hardware.get("gpu") else ""
    return f"{hardware['cores']} cores of {cpu}, {hardware['memory_gib']:.0f} GiB{graphics}"


def main(arguments: list[str] | None = None) -> int:
    """Command line of `make readme`: 0 done or nothing to do, 1 where --check finds a difference, 2 for an error."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.report.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where README.md is not up to date")
    check = parser.parse_args(arguments).check
    path = root() / "README.md"
    text = path.read_bytes().decode("utf-8")      # as it is: read_text would change line ends
    try:
        said = first_difference(text)
        if said and not check:
            write_atomic(path, rewritten(text).encode("utf-8"))
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if check and said:
        print(said, file=sys.stderr)
        return 1
    print("README.md: rewritten; look at `git diff`" if said else "README.md: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
