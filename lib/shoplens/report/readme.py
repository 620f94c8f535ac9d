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

import pandas as pd

from shoplens.classification.comparison import as_in_paper, paper_table
from shoplens.errors import StudyError
from shoplens.paths import root, write_atomic
from shoplens.report.claims import FEATURE_LETTERS
from shoplens.search.trained_networks import SELECTIONS, as_in_table4
from shoplens.study.plan import Study, load_study

PROFILE = "laptop"
MARK = re.compile(r"(?m)^<!-- (?:(?P<name>[^:\n]*): made by make readme|end) -->$")
ON_RUNS = ("reproduced", "direction only", "inside the noise", "not reproduced", "not testable here")
ON_PAPERS = ("true", "true, inside the noise", "true, noise not known", "not true of its table", "no numbers")
THE_PAPERS = "the paper's table"        # `where` of claims.csv, for statements checked on the papers' own numbers
EMPHASIS = {"better": "**", "worse": "*"}


@dataclass(frozen=True)
class Block:
    """A marked place of README.md: text[start:end] stands between its marks, from `line` on, and `content` should."""

    name: str
    start: int
    end: int
    line: int
    content: str


def blocks(text: str) -> list[Block]:
    """The blocks of a README in order; StudyError for a mark without its partner and a name that nobody makes."""
    made, marks, found = makers(load_study()), list(MARK.finditer(text)), []
    for mark, end in zip_longest(marks[::2], marks[1::2]):
        name, line = mark["name"], text.count("\n", 0, mark.start()) + 1
        if name is None:
            raise StudyError(f"README.md, line {line}: `{mark[0]}` ends no block; a block starts with "
                             "`<!-- NAME: made by make readme -->`")
        if end is None or end["name"] is not None:
            raise StudyError(f"README.md, line {line}: block {name} has no `<!-- end -->` before the next block or the "
                             "end of the file")
        if name not in made:
            raise StudyError(f"README.md, line {line}: there is no block {name}; choose one of: {', '.join(made)}")
        found.append(Block(name, mark.end() + 1, end.start(), line + 1, f"\n{made[name]()}\n\n"))
    return found


def makers(study: Study) -> dict[str, Callable[[], str]]:
    """Block name → function that writes its markdown."""
    made = {"cost": partial(cost, study), "verdicts": partial(verdicts, study)}
    for dataset, description in study.datasets.items():
        made[f"table1-{dataset}"] = partial(table1, dataset)
        if "search" in (description.get("capabilities") or ()):
            made[f"table4-{dataset}"] = partial(table4, dataset)
    return made


def rewritten(text: str, found: list[Block]) -> str:
    """A README with every block as it should be, and the rest as it was."""
    for block in reversed(found):
        text = text[:block.start] + block.content + text[block.end:]
    return text


def first_difference(text: str, found: list[Block]) -> str | None:
    """The first line of a README that its block would not hold, as a sentence; None where there is none."""
    for block in found:
        lines = zip_longest(text[block.start:block.end].splitlines(), block.content.splitlines(), fillvalue="(nothing)")
        for number, (line, right) in enumerate(lines, start=block.line):
            if line != right:
                line, right = line or "(an empty line)", right or "(an empty line)"
                return f"README.md, block {block.name}, line {number}: `{line}` should be `{right}`; make readme"
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
    table = table[table["k"] == 1]
    ours, theirs = (as_in_paper(one).set_index("score") for one in (table, paper_table("p1_table1").query("k == 1")))
    for gain in gains[gains["verdict"].isin(EMPHASIS)].itertuples():
        place = f"{gain.metric} top-1, {gain.subset}", gain.variant
        ours.loc[place] = f"{EMPHASIS[gain.verdict]}{ours.loc[place]}{EMPHASIS[gain.verdict]}"
    columns = [*theirs.columns, *(name for name in ours.columns if name not in theirs.columns)]
    rows = [[score, images, *_cells(scores.loc[score], columns)] for score in ours.index
            for images, scores in ((f"`{dataset}`", ours), ("P1: ALISC", theirs))]
    images = " and ".join(f"{own['n'].iloc[0]} {subset}" for subset, own in table.groupby("subset", sort=False))
    return _markdown(["score", "images", *columns], rows) + "\n\n" + _prose(
        f"Percent of {images} test images of `{dataset}`, {_spread(table, ['subset', 'variant'])}. Bold: better than "
        "bCNN beyond the noise, italic: worse (notebook 07 says how that is judged). The rows of P1 are the paper's "
        "own, on other images: compare directions, not digits.")


def table4(dataset: str) -> str:
    """P2's Table 4 on a data set: test MAP@20 by protocol, the paper's own validation numbers below."""
    table = _accepted(dataset, "table4_candidate_selection")
    if table is None:
        return f"Not run yet: P2's selections on `{dataset}` have no accepted results."
    columns = ["pre-trained", *SELECTIONS]
    table = table.assign(feature=table["feature"].map({letter: name for name, letter in FEATURE_LETTERS.items()}))
    table = table[(table["split"] == "test") & table["feature"].notna() & table["selection"].isin(columns)]
    paper = paper_table("p2_table4").query("split == 'val'").assign(protocol="P2: AlibabaM, validation")
    ours = table.assign(protocol=f"`{dataset}`, " + table["protocol"] + ": test")
    rows = [[row["protocol"], row["feature"], *_cells(row, columns)]
            for scores in (ours, paper) for _, row in as_in_table4(scores).iterrows()]
    queries = ", ".join(f"{own['n'].iloc[0]} ({name})" for name, own in table.groupby("protocol", sort=False))
    return _markdown(["images", "feature", *columns], rows) + "\n\n" + _prose(
        f"MAP@20 over the test queries of `{dataset}`: {queries}; "
        f"{_spread(table, ['protocol', 'feature', 'selection'])}. The last rows are P2's own, over the validation "
        "queries of other images.")


def verdicts(study: Study) -> str:
    """How many of the papers' statements held on each data set, and on the papers' own tables."""
    found = {f"`{dataset}`": table for dataset in study.datasets if (table := _accepted(dataset, "claims")) is not None}
    if not found:
        return "Not run yet: no data set has accepted verdicts."
    on_runs = {name: table[table["where"] != THE_PAPERS] for name, table in found.items()}
    first = next(iter(found.values()))
    on_papers = {"the papers' own tables": first[first["where"] == THE_PAPERS]}
    return "\n\n".join([_verdict_counts(on_runs, ON_RUNS), _verdict_counts(on_papers, ON_PAPERS),
                        _prose("Numbers of statements; one about search counts once a protocol.")])


def _verdict_counts(tables: dict[str, pd.DataFrame], columns: tuple[str, ...]) -> str:
    counts = {name: table["verdict"].value_counts() for name, table in tables.items()}
    if unknown := sorted(set().union(*(own.index for own in counts.values())) - set(columns)):
        raise StudyError(f"claims.csv holds verdicts that README.md has no column for: {', '.join(unknown)}")
    return _markdown(["statements checked on", *columns],
                     [[name, *own.reindex(columns, fill_value=0)] for name, own in counts.items()])


def cost(study: Study) -> str:
    """What the accepted runs took: one row per data set, profile and seed."""
    rows = []
    for dataset in study.datasets:
        for profile in study.profiles:
            files = sorted((root() / "results" / "reference" / dataset / profile / "runs").glob("*.json"))
            records = pd.DataFrame([json.loads(file.read_text(encoding="utf-8")) for file in files])
            for seed, own in records.groupby("seed") if len(records) else ():
                numbers = own["notebook"].str.extract(r"(?:.*/)?([^_/]*)", expand=False)
                rows.append([f"`{dataset}`", profile, seed, " ".join(sorted(set(numbers))), len(own),
                             f"{own['wall_s'].sum() / 60:.0f}", f"{own['peak_memory_mib'].max() / 1024:.1f}",
                             "; ".join(own["hardware"].map(_machine).unique())])
    if not rows:
        return "Not run yet: there are no accepted runs."
    head = ["data set", "size", "seed", "notebooks", "runs", "minutes", "peak memory (GiB)", "machine"]
    return _markdown(head, rows)


def _machine(hardware: dict) -> str:
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
        found = blocks(text)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    difference = first_difference(text, found)
    if difference and check:
        print(difference, file=sys.stderr)
        return 1
    if difference:
        write_atomic(path, rewritten(text, found).encode("utf-8"))
    print("README.md: rewritten; look at `git diff`" if difference else "README.md: up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
