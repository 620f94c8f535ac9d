"""The report's cards: what the tables of the analysis runs say, in a few numbers. No table, no card."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shoplens.classification.comparison import OURS
from shoplens.report.claims import ON_RUNS, PAPERS_TABLE, count_verdicts
from shoplens.report.tables import over_seeds

LEARNED = ("L+G", "G", "L")     # P2's features, the one its abstract speaks of first


@dataclass(frozen=True)
class Line:
    """One number of a card: value, what it is of, and the verdict passed on it, if any."""

    value: str
    of: str
    verdict: str = ""


@dataclass(frozen=True)
class Card:
    """Numbers that answer one question, and what to know before believing them."""

    title: str
    lines: tuple[Line, ...]
    note: str


def cards(tables: Path) -> list[Card]:
    """All cards that the CSVs in a folder allow. Raises KeyError where a table lacks a column it should have."""
    def read(name: str) -> pd.DataFrame:
        file = tables / f"{name}.csv"
        return pd.read_csv(file) if file.exists() else pd.DataFrame()

    table1, gains, table5, claims = map(read, ("table1_classification", "table1_gains", "table5_search", "claims"))
    made = {flat_cnn: (table1,), best_variant: (gains,), ours: (gains,), search: (table5, read("table5_gains")),
            statements: (claims,)}
    found = [card(*needed) for card, needed in made.items() if len(needed[0])]
    return [card for card in found if card.lines]


def flat_cnn(table1: pd.DataFrame) -> Card:
    """Test ACC and MACC of bCNN on each image set, mean over seeds."""
    own = table1[(table1["variant"] == "bCNN") & (table1["k"] == 1)]
    lines = []
    for subset, rows in own.groupby("subset", sort=False):
        mean = 100 * rows.groupby("metric")["value"].mean()
        lines.append(Line(f"{mean['ACC']:.1f} · {mean['MACC']:.1f} %",
                          f"ACC · MACC, {subset} images ({rows['n'].iloc[0]:,} in test)"))
    return Card("The flat CNN, bCNN", tuple(lines), _mean(own, "variant"))


def best_variant(gains: pd.DataFrame) -> Card:
    """The largest gain in MACC over bCNN among the paper's variants, on each image set."""
    own = gains[(gains["metric"] == "MACC") & (gains["variant"] != OURS)]
    best = own.loc[own.groupby("subset", sort=False)["value"].idxmax()]
    among = own["variant"].nunique()
    return Card("What structure bought, MACC", _gains_in_points(best),
                f"Best of the paper's {among} structure-aware variant{'s' if among > 1 else ''}, against bCNN. "
                "The best is picked on test, which flatters it.")


def ours(gains: pd.DataFrame) -> Card:
    """Our variant's gain in MACC over bCNN on each image set."""
    own = gains[(gains["metric"] == "MACC") & (gains["variant"] == OURS)]
    return Card("Our variant, MACC", _gains_in_points(own), "Against bCNN; its price in ACC stands in Table 1.")


def search(table5: pd.DataFrame, gains: pd.DataFrame) -> Card:
    """MAP off the shelf and learned under each protocol, without distractors, mean over seeds.

    The verdict is that of table5_gains, where it has the pair; gains may be empty.
    """
    own = table5[table5["metric"].str.startswith("MAP") & (table5["distractors"] == 0)]
    pairs = {(r.protocol, r.variant, r.against): r for r in gains.itertuples()}
    lines, behind = [], [own.head(0)]
    for protocol, rows in own.groupby("protocol", sort=False):
        mean = rows.groupby("variant")["value"].mean()
        learned = next((name for name in LEARNED if name in mean), None)
        if learned is None or "O" not in mean:
            continue
        pair = pairs.get((protocol, learned, "O"))
        difference = f": {pair.value:+.3f} {_interval(pair.low, pair.high, '+.3f')}" if pair else ""
        lines.append(Line(f"{mean['O']:.3f} → {mean[learned]:.3f}", f"protocol {protocol}, O → {learned}{difference}",
                          pair.verdict if pair else ""))
        behind.append(rows[rows["variant"] == learned])
    return Card(f"Search, {', '.join(own['metric'].unique())}", tuple(lines),
                f"Off the shelf → learned. {_mean(pd.concat(behind), 'protocol')}")


def statements(claims: pd.DataFrame) -> Card:
    """How many of the papers' statements these runs bear out, counted once per protocol."""
    own = claims[claims["where"] != PAPERS_TABLE]
    *testable, untestable = ON_RUNS
    counts = count_verdicts(own, "paper", ON_RUNS)
    lines = [Line(str(by_paper.sum()), ", ".join(f"{n} of {paper}" for paper, n in by_paper.items() if n), verdict)
             for verdict, by_paper in counts[testable].items() if by_paper.any()]
    tested = own.loc[own["verdict"] != untestable, "claim"].nunique()
    return Card("Statements of the papers", tuple(lines),
                f"{tested} can be tested here; those of P2 count once per protocol.")


def _gains_in_points(gains: pd.DataFrame) -> tuple[Line, ...]:
    return tuple(Line(f"{100 * r.value:+.1f} points",
                      f"{r.variant}, {r.subset} images {_interval(100 * r.low, 100 * r.high, '+.1f')}", r.verdict)
                 for r in gains.itertuples())


def _interval(low: float, high: float, form: str) -> str:
    """An interval that no line ends in."""
    return f"[{low:{form}},\u00a0{high:{form}}]"


def _mean(table: pd.DataFrame, rows: str) -> str:
    return f"{over_seeds('mean', table, [rows]).capitalize()}."
