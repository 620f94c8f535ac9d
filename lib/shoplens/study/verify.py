"""How closely a user's tables agree with the accepted ones: bitwise, numerically, statistically, or not at all.

What counts as close is declared in tolerances.yml, all of it. Tables are read as text, so that a key or a verdict is
what the file says, and a cell is a number only where its column is declared as one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from shoplens.errors import StudyError
from shoplens.paths import results_dir, root
from shoplens.sealed import altered
from shoplens.study.plan import RunSpec, choose, load_study, parse_seeds
from shoplens.study.publish import read_record
from shoplens.study.tolerances import Tolerances, load_tolerances, numbers, tolerances_of

SHOWN = 5       # failures of a table that are printed


class Kind(IntEnum):
    """Of agreement, the weaker the larger."""

    BITWISE = 0
    NUMERICAL = 1
    STATISTICAL = 2
    FAILS = 3


class Finding(NamedTuple):
    """What differs between two tables. text: a sentence about it, "" where numbers say enough. place, deviation,
    allowed: of a number."""

    kind: Kind
    text: str = ""
    place: str = ""
    deviation: float = np.nan
    allowed: float = np.nan

    @property
    def rank(self) -> tuple[Kind, float]:
        """The larger, the farther from the reference."""
        comparable = self.allowed > 0 and np.isfinite(self.deviation)
        return self.kind, self.deviation / self.allowed if comparable else np.inf


class Agreement:
    """What comparing one table found.

    kind: the weakest. worst: the number that differs most for what it may, None where none differs. notes: verdicts and
    choices that differ. failures: whole sentences, one per cell, row or column.
    """

    def __init__(self, table: str, found: list[Finding]):
        self.table = table
        self.kind = max((finding.kind for finding in found), default=Kind.BITWISE)
        self.worst = max((one for one in found if one.place), key=lambda one: one.rank, default=None)
        self.notes = [f"{table}, {finding.text}" for finding in found if finding.text and finding.kind < Kind.FAILS]
        self.failures = [f"tables/{table}.csv: {finding.text}" for finding in found if finding.kind is Kind.FAILS]


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with every cell as text, empty cells as ""; StudyError if it cannot be read as one."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read as CSV ({error}); delete it and restore it from git or with "
                         "make reproduce") from None


def _of_seeds(table: pd.DataFrame, seeds: tuple[int, ...]) -> pd.DataFrame:
    """Rows of these seeds, or all of a table that has none of them (a catalogue knows no seed but 0)."""
    wanted = table["seed"].isin(map(str, seeds)) if "seed" in table else pd.Series(False, table.index)
    return table[wanted] if wanted.any() else table


def _labelled(tables: list[pd.DataFrame], keys: list[str]) -> list[pd.DataFrame]:
    """The tables with what to call each row as its index: the keys in which rows differ, `variant=bCNN; metric=ACC`."""
    both = pd.concat(tables)
    telling = [key for key in keys if both[key].nunique() > 1] or keys
    return [table.set_axis(["; ".join(map("=".join, zip(telling, row, strict=True)))
                            for row in table[telling].itertuples(index=False, name=None)]) for table in tables]


def _in_rows(reference: pd.DataFrame, yours: pd.DataFrame, keys: list[str]) -> Iterator[str]:
    """Rows that stand in yours more than once, and those that only one of the two tables has."""
    for label, count in Counter(yours.index).items():
        if count > 1:
            yield f"{count} of your rows have the same keys ({' '.join(yours.loc[[label], keys].iloc[0])})"
    for label in reference.index[~reference.index.isin(yours.index)]:
        yield f"row {label} of the reference is missing from yours"
    for label in yours.index[~yours.index.isin(reference.index)]:
        yield f"your row {label} is not in the reference"


def _in_cells(column: str, reference: pd.DataFrame, yours: pd.DataFrame, tolerances: Tolerances) -> Iterator[Finding]:
    """Cells of one column that differ, of two tables with the same rows."""
    role = tolerances.roles[column]
    different = (reference[column] != yours[column]).to_numpy()
    theirs = numbers(reference[column])
    deviation, allowed = np.abs(theirs - numbers(yours[column])), tolerances.near(theirs)
    rounding = deviation <= allowed          # False for NaN: a cell without a number agrees as text or not at all
    if role == "scores" and (different & ~rounding).any():
        allowed = np.where(rounding, allowed, tolerances.far(column, reference, yours))
    for i in np.flatnonzero(different):
        row = reference.index[i]
        place = f"{row}: {column}" if row else column
        both = f"reference {reference[column].iloc[i] or '(empty)'}, yours {yours[column].iloc[i] or '(empty)'}"
        measured = place, deviation[i], allowed[i]
        if rounding[i]:
            yield Finding(Kind.NUMERICAL, "", *measured)
        elif role in ("noted", "derived"):
            yield Finding(Kind.STATISTICAL, f"{place}: {both}" if role == "noted" else "")
        elif deviation[i] <= allowed[i]:
            yield Finding(Kind.STATISTICAL, "", *measured)
        else:
            limit = ("and what no network decides must be equal: same data, same settings?" if role == "given"
                     else f"tolerance {allowed[i]:.3g}")
            finite = np.isfinite(deviation[i])
            why = f"they differ by {deviation[i]:.3g}, {limit}" if finite else "one of them is no finite number"
            yield Finding(Kind.FAILS, f"row {row or 1}, column {column}: {both}; {why}", *measured)


def _findings(name: str, theirs: pd.DataFrame, yours: pd.DataFrame, tolerances: Tolerances,
              seeds: tuple[int, ...]) -> Iterator[Finding]:
    """What differs between two tables; see `compare_tables`."""
    for columns, other, fault in ((theirs, yours, "is missing from yours"), (yours, theirs, "is new")):
        if absent := [column for column in columns if column not in other]:
            yield Finding(Kind.FAILS, f"column {', '.join(absent)} {fault}; another version of the study made one of "
                                      "the two")
    if set(theirs) != set(yours):
        return
    if unknown := [column for column in theirs if column not in tolerances.roles]:
        raise StudyError(f"tolerances.yml does not say what column `{unknown[0]}` of tables/{name}.csv is; "
                         "add it to keys, machine, given, noted, derived or scores")
    keys = [column for column in theirs if tolerances.roles[column] == "keys"]
    theirs, yours = _labelled([_of_seeds(table, seeds) for table in (theirs, yours)], keys)
    if (twice := theirs[theirs.index.duplicated()]).size:
        raise StudyError(f"tolerances.yml: keys do not tell the rows of tables/{name}.csv apart "
                         f"({' '.join(twice[keys].iloc[0])} stands there twice); declare another column as a key")
    yield Finding(Kind.NUMERICAL)       # not the same bytes, were it only the order of rows or a time
    yield from (Finding(Kind.FAILS, text) for text in _in_rows(theirs, yours, keys))
    theirs = theirs[theirs.index.isin(yours.index)]
    yours = yours[~yours.index.duplicated(keep="last")].reindex(theirs.index)
    for column in theirs:
        if tolerances.roles[column] in ("keys", "machine"):
            continue
        try:
            yield from _in_cells(column, theirs, yours, tolerances)
        except KeyError as error:
            raise StudyError(f"tolerances.yml: the rule of column `{column}` needs column {error}, which "
                             f"tables/{name}.csv has not or which has no rule; give the table its own rule under "
                             "`tables`") from None


def compare_tables(name: str, reference: Path, yours: Path | None, tolerances: Tolerances,
                   seeds: tuple[int, ...] = (0,)) -> Agreement:
    """Compare two CSV files, the rows of `seeds` only where they hold several. yours: None where there is none.

    A bad table of the user's is a failure in the answer. StudyError where tolerances.yml says nothing of a column or
    its keys do not tell the rows apart, and where the reference cannot be read.
    """
    if yours is None:
        return Agreement(name, [Finding(Kind.FAILS, "the reference has it and you have not; make reproduce, or make "
                                                    "status to see which run failed")])
    if reference.read_bytes() == yours.read_bytes():
        return Agreement(name, [])
    theirs = read_table(reference)
    try:
        own = read_table(yours)
    except StudyError as error:
        return Agreement(name, [Finding(Kind.FAILS, str(error))])
    return Agreement(name, list(_findings(name, theirs, own, tolerances, seeds)))


def _tables(folder: Path) -> dict[str, Path]:
    """Table name → file, by name."""
    return dict(sorted((path.stem, path) for path in (folder / "tables").glob("*.csv")))


def _owners(runs: dict[str, RunSpec]) -> dict[str, str]:
    """{table: id of the run that writes it}."""
    return {Path(output).stem: run.id for run in runs.values() for output in (*run.outputs, *run.optional)
            if output.startswith("tables/")}


def _check_folders(dataset: str, profile: str, reference: dict[str, Path], yours: dict[str, Path]) -> None:
    """StudyError, with what to do, unless both hold tables."""
    if not reference:
        accepted = root() / "results" / "reference"
        there = sorted({str(path.parents[1].relative_to(accepted)) for path in accepted.glob("*/*/tables/*.csv")})
        raise StudyError(f"there is no reference for {dataset}/{profile}; give DATASET= and PROFILE= one that has one: "
                         f"{', '.join(there) or 'none'} (make accept-reference turns finished runs into one)")
    if not yours:
        raise StudyError(f"there are no tables in results/{dataset}/{profile}/tables; make reproduce "
                         f"DATASET={dataset} PROFILE={profile} first")


def _not_as_written(runs: Iterable[RunSpec]) -> Iterator[str]:
    """One sentence per file of these runs that is not as its run wrote it: edited or damaged since."""
    for run in runs:
        try:
            written = read_record(run.record_file).get("files", {})
            yield from (f"{name} {what}" for name, what in altered(run.results, written, anew=True).items())
        except StudyError as error:
            yield str(error)


def _averages_more(reference: Path, yours: Path | None, seeds: tuple[int, ...]) -> bool:
    """Whether a table of the reference averages over more seeds than asked for (and is not simply equal)."""
    if yours and yours.read_bytes() == reference.read_bytes():
        return False
    table = read_table(reference)
    return "seeds" in table and numbers(table["seeds"]).max() > len(seeds)


def _print_agreements(agreements: list[Agreement]) -> None:
    """One line per table, then what differs in words, then what fails."""
    line = f"  {{:<{max(len(found.table) for found in agreements)}}}  {{:<11}}  {{:>8}}  {{:>8}}  {{}}".format
    print(line("table", "agreement", "worst", "allowed", "where"))
    for found in agreements:
        figures, where = ["", ""], "see FAILS below" if found.kind is Kind.FAILS else ""
        if found.worst and (found.kind is not Kind.FAILS or found.worst.kind == Kind.FAILS):
            figures = [f"{number:.2g}" if np.isfinite(number) else ""
                       for number in (found.worst.deviation, found.worst.allowed)]
            where = found.worst.place
        print(line(found.table, found.kind.name.lower(), *figures, where).rstrip())
    for found in agreements:
        for note in found.notes:
            print(f"differs: {note}")
    for found in agreements:
        for failure in found.failures[:SHOWN]:
            print(f"FAILS: {failure}")
        if len(found.failures) > SHOWN:
            print(f"FAILS: tables/{found.table}.csv: and {len(found.failures) - SHOWN} more")


def verify(dataset: str, profile: str, seeds: str, run_id: str = "") -> int:
    """Compare results/<dataset>/<profile> with its reference, one run's tables with `run_id`, and print what agrees.

    0 where every table of the reference agrees and all files are as the runs wrote them, 1 else. StudyError where there
    is nothing to compare.
    """
    study = load_study()
    asked = parse_seeds(seeds) or study.seeds.get(profile, ())
    runs = study.plan(dataset, profile, asked)
    owners = _owners(runs)
    where = f"{dataset}/{profile}"
    reference, yours = _tables(root() / "results" / "reference" / where), _tables(results_dir(dataset, profile))
    _check_folders(dataset, profile, reference, yours)
    if run_id:
        choose(runs, run_id)
    accepted, made = ([name for name in tables if not run_id or owners.get(name) == run_id]
                      for tables in (reference, yours))
    more = {0} | {int(number) for name in accepted for number in re.findall(r"-s(\d+)", name)}
    of_more = _owners(study.plan(dataset, profile, tuple(sorted(more))))    # not of a run that study.yml has no more
    left_out = [name for name in accepted if (name in of_more and name not in owners)
                or _averages_more(reference[name], yours.get(name), asked)]
    names = [name for name in accepted if name not in left_out]
    if not names:
        raise StudyError(f"the reference for {where} has no table of {run_id or 'any run'} with "
                         f"SEEDS=\"{seeds}\"; it has: {', '.join(reference)}")
    raw = load_tolerances()
    agreements = [compare_tables(name, reference[name], yours.get(name), tolerances_of(raw, name), asked)
                  for name in names]
    print(f"results/{where} against results/reference/{where}")
    _print_agreements(agreements)
    not_compared = {"no reference for": [name for name in made if name not in accepted],
                    f'left out, of other seeds than SEEDS="{seeds}"': left_out}
    for why, tables in not_compared.items():
        if tables:
            print(f"{why}: {', '.join(tables)}")
    changed = list(_not_as_written([runs[run_id]] if run_id else runs.values()))
    for sentence in changed:
        print(f"FAILS: {sentence}")
    counts = Counter(found.kind for found in agreements)
    weakest = Kind.FAILS if changed else max(counts)
    counted = ", ".join(f"{counts[kind]} {kind.name.lower()}" for kind in sorted(counts))
    print(f"{where}: {'FAILS' if weakest is Kind.FAILS else f'{weakest.name.lower()} agreement'} ({counted})")
    return int(weakest is Kind.FAILS)
