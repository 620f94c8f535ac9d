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
from functools import partial
from itertools import product, zip_longest

import pandas as pd

from shoplens.classification.comparison import as_in_paper, paper_table
from shoplens.errors import StudyError
from shoplens.paths import root, write_atomic
from shoplens.report.claims import FEATURE_LETTERS, ON_PAPER, ON_RUNS, PAPERS_TABLE, count_verdicts
from shoplens.report.tables import over_seeds
from shoplens.search.trained_networks import SELECTIONS, as_in_table4
from shoplens.study.plan import Study, load_study

PROFILE = "laptop"
MARK = re.compile(r"(?m)^<!-- (?:(?P<name>[^:\n]*): made by make readme|end) -->$")
EMPHASIS = {"better": "**", "worse": "*"}
SPREAD = "mean ± standard deviation"


def rewritten(text: str) -> str:
    """A README with every block as it should be, and the rest as it was; StudyError for a mark without its partner and
    a name that nobody makes."""
    made, marks, parts, done = makers(load_study()), list(MARK.finditer(text)), [], 0
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
        parts += [text[done:mark.end() + 1], f"\n{made[name]()}\n\n"]
        done = end.start()
    return "".join([*parts, text[done:]])


def makers(study: Study) -> dict[str, Callable[[], str]]:
    """Block name → function that writes its markdown."""
    made = {"cost": partial(cost, study), "verdicts": partial(verdicts, study)}
    for dataset, description in study.datasets.items():
        made[f"table1-{dataset}"] = partial(table1, dataset)
        if "search" in (description.get("capabilities") or ()):
            made[f"table4-{dataset}"] = partial(table4, dataset)
    return made


def first_difference(text: str, right: str) -> str:
    """The first line in which a README differs from what it should be, as a sentence."""
    lines = list(zip_longest(text.splitlines(), right.splitlines()))
    first = next(i for i, (line, expected) in enumerate(lines) if line != expected)
    line, expected = (text or "(an empty line)" for text in lines[first])
    block = next(mark["name"] for before, _ in reversed(lines[:first]) if (mark := MARK.match(before)))
    return f"README.md, block {block}, line {first + 1}: `{line}` should be `{expected}`; make readme"


def _accepted(dataset: str, name: str) -> pd.DataFrame | None:
    file = root() / "results" / "reference" / dataset / PROFILE / "tables" / f"{name}.csv"
    return pd.read_csv(file) if file.exists() else None


def _markdown(table: pd.DataFrame) -> str:
    """A table without padding, so that a number that changes changes one line; a dash where there is none."""
    rows = table.fillna("").replace("", "–").itertuples(index=False)
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (table.columns, ["---"] * table.shape[1], *rows))


def _prose(*sentences: str) -> str:
    return textwrap.fill(" ".join(sentences), 120, break_on_hyphens=False, break_long_words=False)


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
    for images, scores in ((f"`{dataset}`", ours), ("P1: ALISC", theirs)):
        scores.insert(0, "images", images)
    both = pd.concat([ours, theirs]).loc[ours.index, theirs.columns.union(ours.columns, sort=False)]
    images = " and ".join(f"{own['n'].iloc[0]} {subset}" for subset, own in table.groupby("subset", sort=False))
    return _markdown(both.reset_index()) + "\n\n" + _prose(
        f"Percent of {images} test images of `{dataset}`, {over_seeds(SPREAD, table, ['subset', 'variant'])}. Bold: "
        "better than bCNN beyond the noise, italic: worse (notebook 07 says how that is judged). The rows of P1 are "
        "the paper's own, on other images: compare directions, not digits.")


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
    both = pd.concat([as_in_table4(ours), as_in_table4(paper)]).rename(columns={"protocol": "images"})
    queries = ", ".join(f"{own['n'].iloc[0]} ({name})" for name, own in table.groupby("protocol", sort=False))
    return _markdown(both.reindex(columns=["images", "feature", *columns])) + "\n\n" + _prose(
        f"MAP@20 over the test queries of `{dataset}`: {queries}; "
        f"{over_seeds(SPREAD, table, ['protocol', 'feature', 'selection'])}. The last rows are P2's own, over the "
        "validation queries of other images.")


def verdicts(study: Study) -> str:
    """How many of the papers' statements held on each data set, and on the papers' own tables."""
    found = [table.assign(on=f"`{dataset}`") for dataset in study.datasets
             if (table := _accepted(dataset, "claims")) is not None]
    if not found:
        return "Not run yet: no data set has accepted verdicts."
    everywhere = pd.concat(found)
    on_runs = everywhere[everywhere["where"] != PAPERS_TABLE]
    on_papers = found[0][found[0]["where"] == PAPERS_TABLE].assign(on="the papers' own tables")
    counts = [count_verdicts(on_runs, "on", ON_RUNS), count_verdicts(on_papers, "on", ON_PAPER)]
    return "\n\n".join([*(_markdown(one.rename_axis("statements checked on").reset_index()) for one in counts),
                        _prose("Numbers of statements; one about search counts once a protocol.")])


def cost(study: Study) -> str:
    """What the accepted runs took: one row per data set, profile and seed."""
    rows = []
    for dataset, profile in product(study.datasets, study.profiles):
        files = sorted((root() / "results" / "reference" / dataset / profile / "runs").glob("*.json"))
        records = pd.DataFrame([json.loads(file.read_text(encoding="utf-8")) for file in files])
        for seed, own in records.groupby("seed") if files else ():
            numbers = own["notebook"].str.extract(r"(?:.*/)?([^_/]*)", expand=False)
            rows.append({"data set": f"`{dataset}`", "size": profile, "seed": seed,
                         "notebooks": " ".join(sorted(set(numbers))), "runs": len(own),
                         "minutes": f"{own['wall_s'].sum() / 60:.0f}",
                         "peak memory (GiB)": f"{own['peak_memory_mib'].max() / 1024:.1f}",
                         "machine": "; ".join(own["hardware"].map(_machine).unique())})
    return _markdown(pd.DataFrame(rows)) if rows else "Not run yet: there are no accepted runs."


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
        right = rewritten(text)
    except StudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if check and right != text:
        print(first_difference(text, right), file=sys.stderr)
        return 1
    if right != text:
        write_atomic(path, right.encode("utf-8"))
    print("README.md: up to date" if right == text else "README.md: rewritten; look at `git diff`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
