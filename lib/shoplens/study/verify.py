"""How closely a user's tables agree with the accepted ones: bitwise, numerically, statistically, or not at all.

What counts as close is declared in tolerances.yml, all of it. Tables are read as text, so that a key or a verdict is
what the file says, and a cell is a number only where its column is declared as one.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import numpy as np
import pandas as pd

from shoplens.errors import StudyError
from shoplens.paths import results_dir, root
from shoplens.study.plan import RunSpec, choose, load_study, parse_seeds
from shoplens.study.tolerances import Tolerances, load_tolerances, numbers, tolerances_of

SHOWN = 5       # failures of a table that are printed


class Kind(IntEnum):
    """Of agreement, the weaker the larger."""

    BITWISE = 0
    NUMERICAL = 1
    STATISTICAL = 2
    FAILS = 3


@dataclass
class Agreement:
    """What comparing one table found.

    worst: (kind, deviation / allowed, deviation, allowed, where) of the number that differs most for what it may; NaN
    where none differs. notes: verdicts and choices that differ. failures: whole sentences, one a cell, row or column.
    """

    table: str
    kind: Kind = Kind.BITWISE
    worst: tuple = (Kind.BITWISE, 0.0, np.nan, np.nan, "")
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def weaken(self, kind: Kind) -> None:
        self.kind = max(self.kind, kind)

    def fail(self, why: str) -> None:
        self.kind = Kind.FAILS
        self.failures.append(f"tables/{self.table}.csv: {why}")

    def deviates(self, kind: Kind, deviation: float, allowed: float, where: str) -> None:
        self.weaken(kind)
        ratio = deviation / allowed if allowed > 0 and np.isfinite(deviation) else np.inf
        self.worst = max(self.worst, (kind, ratio, deviation, allowed, where), key=lambda worst: worst[:2])


def read_table(path: Path) -> pd.DataFrame:
    """A CSV with every cell as text, empty cells as ""; StudyError if it cannot be read as one."""
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read as CSV ({error}); delete it and restore it from git or with "
                         "make reproduce") from None


def _of_seeds(table: pd.DataFrame, seeds: tuple[int, ...]) -> pd.DataFrame:
    """Rows of these seeds; all rows of a table that has none of them (a catalogue knows no seed but 0)."""
    if "seed" not in table:
        return table
    asked = table["seed"].isin([str(seed) for seed in seeds])
    return table[asked] if asked.any() else table


def _rows(table: pd.DataFrame, keys: list[str]) -> list[tuple]:
    return list(table[keys].itertuples(index=False, name=None))


def _labels(table: pd.DataFrame, keys: list[str]) -> list[str]:
    """What to call each row: the keys in which the rows differ, `variant=bCNN; metric=ACC; k=1`."""
    telling = [key for key in keys if table[key].nunique() > 1] or keys
    return ["; ".join(f"{k}={v}" for k, v in zip(telling, row, strict=True)) for row in _rows(table, telling)]


def _same_columns(found: Agreement, reference: pd.DataFrame, yours: pd.DataFrame) -> bool:
    for columns, other, said in ((reference, yours, "is missing from yours"), (yours, reference, "is new")):
        absent = [column for column in columns if column not in other]
        if absent:
            found.fail(f"column {', '.join(absent)} {said}; another version of the study made one of the two")
    return set(reference) == set(yours)


def _pair(found: Agreement, reference: pd.DataFrame, yours: pd.DataFrame, keys: list[str]):
    """The rows both tables have, in the reference's order, as two tables; rows of one alone are failures.

    StudyError if the keys do not tell the reference's rows apart.
    """
    theirs, own = _rows(reference, keys), _rows(yours, keys)
    twice = [row for row, count in Counter(theirs).items() if count > 1]
    if twice:
        raise StudyError(f"tolerances.yml: keys do not tell the rows of tables/{found.table}.csv apart "
                         f"({' '.join(twice[0])} stands there twice); declare another column as a key")
    for row, count in Counter(own).items():
        if count > 1:
            found.fail(f"{count} of your rows have the same keys ({' '.join(row)})")
    place = {row: i for i, row in enumerate(own)}
    known = set(theirs)
    for label, row in zip(_labels(reference, keys), theirs, strict=True):
        if row not in place:
            found.fail(f"row {label} of the reference is missing from yours")
    for label, row in zip(_labels(yours, keys), own, strict=True):
        if row not in known:
            found.fail(f"your row {label} is not in the reference")
    both = [row for row in theirs if row in place]
    return (reference[[row in place for row in theirs]].reset_index(drop=True),
            yours.iloc[[place[row] for row in both]].reset_index(drop=True))


def _compare_column(found: Agreement, column: str, reference: pd.DataFrame, yours: pd.DataFrame, labels: list[str],
                    tolerances: Tolerances) -> None:
    """Judge one column of two tables with the same rows."""
    role = tolerances.roles[column]
    different = (reference[column] != yours[column]).to_numpy()
    if not different.any():
        return
    a, b = numbers(reference[column]), numbers(yours[column])
    deviation = np.abs(a - b)
    allowed = tolerances.near(a)
    rounding = deviation <= allowed          # False for NaN: a cell without a number agrees as text or not at all
    if role == "scores" and (different & ~rounding).any():
        allowed = np.where(rounding, allowed, _far(found, column, reference, yours, tolerances))
    for i in np.flatnonzero(different):
        where = f"{labels[i]}: {column}" if labels[i] else column
        both = f"reference {reference[column][i] or '(empty)'}, yours {yours[column][i] or '(empty)'}"
        if rounding[i]:
            found.deviates(Kind.NUMERICAL, deviation[i], allowed[i], where)
        elif role == "noted":
            found.weaken(Kind.STATISTICAL)
            found.notes.append(f"{found.table}, {where}: {both}")
        elif role == "derived":
            found.weaken(Kind.STATISTICAL)
        elif role == "scores" and deviation[i] <= allowed[i]:
            found.deviates(Kind.STATISTICAL, deviation[i], allowed[i], where)
        else:
            found.deviates(Kind.FAILS, deviation[i], allowed[i], where)
            found.fail(f"row {labels[i] or 1}, column {column}: {both}; "
                       + _tolerance_said(role, deviation[i], allowed[i]))


def _far(found: Agreement, column: str, reference: pd.DataFrame, yours: pd.DataFrame, tolerances: Tolerances):
    try:
        return tolerances.far(column, reference, yours)
    except KeyError as error:
        raise StudyError(f"tolerances.yml: the rule of column `{column}` needs column {error}, which "
                         f"tables/{found.table}.csv has not or which has no rule; give the table its own rule under "
                         "`tables`") from None


def _tolerance_said(role: str, deviation: float, allowed: float) -> str:
    if not np.isfinite(deviation):
        return "one of them is no finite number"
    if role == "given":
        return f"they differ by {deviation:.3g}, and what no network decides must be equal: same data, same settings?"
    return f"they differ by {deviation:.3g}, tolerance {allowed:.3g}"


def compare_tables(name: str, reference: Path, yours: Path, tolerances: Tolerances,
                   seeds: tuple[int, ...] = (0,)) -> Agreement:
    """Compare two CSV files, the rows of `seeds` only where they hold several.

    A bad table of the user's is a failure in the answer. StudyError where tolerances.yml says nothing of a column and
    where the reference cannot be read.
    """
    found = Agreement(name)
    if not yours.exists():
        found.fail("the reference has it and you have not; make reproduce, or make status to see which run failed")
        return found
    if reference.read_bytes() == yours.read_bytes():
        return found
    theirs = read_table(reference)
    try:
        own = read_table(yours)
    except StudyError as error:
        found.fail(str(error))
        return found
    if not _same_columns(found, theirs, own):
        return found
    unknown = [column for column in theirs if column not in tolerances.roles]
    if unknown:
        raise StudyError(f"tolerances.yml does not say what column `{unknown[0]}` of tables/{name}.csv is; "
                         "add it to keys, machine, given, noted, derived or scores")
    keys = [column for column in theirs if tolerances.roles[column] == "keys"]
    theirs, own = _pair(found, _of_seeds(theirs, seeds), _of_seeds(own, seeds), keys)
    found.weaken(Kind.NUMERICAL)        # not the same bytes, were it only the order of rows or a time
    labels = _labels(theirs, keys)
    for column in theirs:
        if tolerances.roles[column] not in ("keys", "machine"):
            _compare_column(found, column, theirs, own, labels, tolerances)
    return found


def _owners(runs: dict[str, RunSpec]) -> dict[str, str]:
    """{table: id of the run that writes it}."""
    return {Path(output).stem: run.id for run in runs.values() for output in (*run.outputs, *run.optional)
            if output.startswith("tables/")}


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / "tables").glob("*.csv"))


def _check_folders(reference: Path, yours: Path) -> None:
    """StudyError, with what to do, unless both hold tables."""
    dataset, profile = yours.parts[-2:]
    here = f"DATASET={dataset} PROFILE={profile}"
    if not _names(reference):
        accepted = root() / "results" / "reference"
        there = sorted({str(path.parents[1].relative_to(accepted)) for path in accepted.glob("*/*/tables/*.csv")})
        raise StudyError(f"there is no reference for {dataset}/{profile}; give DATASET= and PROFILE= one that has one: "
                         f"{', '.join(there) or 'none'} (make accept-reference turns finished runs into one)")
    if not _names(yours):
        raise StudyError(f"there are no tables in results/{dataset}/{profile}/tables; make reproduce {here} first")


def _averages_more(reference: Path, yours: Path, seeds: tuple[int, ...]) -> bool:
    """Whether a table of the reference averages over more seeds than asked for (and is not simply equal)."""
    if yours.exists() and yours.read_bytes() == reference.read_bytes():
        return False
    table = read_table(reference)
    return "seeds" in table and numbers(table["seeds"]).max() > len(seeds)


def _of_other_seeds(names: list[str], owners: dict[str, str], seeds: tuple[int, ...], reference: Path,
                    yours: Path) -> list[str]:
    """Those of the reference's tables that belong to, or average over, seeds that were not asked for.

    A table that no run of study.yml writes any more is none of them: that yours lacks it has to be seen.
    """
    dataset, profile = yours.parts[-2:]
    named = {int(number) for name in names for number in re.findall(r"-s(\d+)", name)}
    of_any_seed = _owners(load_study().plan(dataset, profile, tuple(sorted({0, *named, *seeds}))))
    return [name for name in names if name in of_any_seed and name not in owners or _averages_more(
        reference / "tables" / f"{name}.csv", yours / "tables" / f"{name}.csv", seeds)]


def _print_agreements(agreements: list[Agreement]) -> None:
    """A line a table, then what differs in words, then what fails."""
    width = max(len(found.table) for found in agreements)
    print(f"  {'table':<{width}}  {'agreement':<11}  {'worst':>8}  {'allowed':>8}  where")
    for found in agreements:
        kind, _, deviation, allowed, where = found.worst
        worst = [f"{number:.2g}" if np.isfinite(number) else "" for number in (deviation, allowed)]
        if found.kind is Kind.FAILS and kind is not Kind.FAILS:
            worst, where = ["", ""], "see FAILS below"
        columns = (f"{found.table:<{width}}", f"{found.kind.name.lower():<11}", *(f"{w:>8}" for w in worst), where)
        print("  " + "  ".join(columns).rstrip())
    for found in agreements:
        for note in found.notes:
            print(f"differs: {note}")
    for found in agreements:
        for failure in found.failures[:SHOWN]:
            print(f"FAILS: {failure}")
        if len(found.failures) > SHOWN:
            print(f"FAILS: tables/{found.table}.csv: and {len(found.failures) - SHOWN} more")


def _print_summary(where: str, agreements: list[Agreement]) -> Kind:
    """The last line; the weakest kind of all tables."""
    counts = Counter(found.kind for found in agreements)
    weakest = max(counts)
    said = ", ".join(f"{counts[kind]} {kind.name.lower()}" for kind in Kind if counts[kind])
    print(f"{where}: {'FAILS' if weakest is Kind.FAILS else f'{weakest.name.lower()} agreement'} ({said})")
    return weakest


def verify(dataset: str, profile: str, seeds: str, run_id: str = "") -> int:
    """Compare results/<dataset>/<profile> with its reference, one run's tables with `run_id`, and print what agrees.

    0 where every table of the reference agrees, 1 where one does not. StudyError where there is nothing to compare.
    """
    study = load_study()
    asked = parse_seeds(seeds)
    runs = study.plan(dataset, profile, asked)
    asked = asked or study.seeds[profile]
    owners = _owners(runs)
    reference, yours = root() / "results" / "reference" / dataset / profile, results_dir(dataset, profile)
    _check_folders(reference, yours)
    accepted, made = _names(reference), _names(yours)
    if run_id:
        choose(runs, run_id)
        accepted, made = ([name for name in names if owners.get(name) == run_id] for names in (accepted, made))
    left_out = _of_other_seeds(accepted, owners, asked, reference, yours)
    names = [name for name in accepted if name not in left_out]
    if not names:
        raise StudyError(f"the reference for {dataset}/{profile} has no table of {run_id or 'any run'} with "
                         f"SEEDS=\"{seeds}\"; it has: {', '.join(_names(reference))}")
    raw = load_tolerances()
    agreements = [compare_tables(name, *(folder / "tables" / f"{name}.csv" for folder in (reference, yours)),
                                 tolerances_of(raw, name), asked) for name in names]
    print(f"results/{dataset}/{profile} against results/reference/{dataset}/{profile}")
    _print_agreements(agreements)
    for said, some in (("no reference for", [name for name in made if name not in accepted]),
                       (f'left out, of other seeds than SEEDS="{seeds}"', left_out)):
        if some:
            print(f"{said}: {', '.join(some)}")
    return int(_print_summary(f"{dataset}/{profile}", agreements) is Kind.FAILS)
