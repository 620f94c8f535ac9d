"""Tables of the runs as a reader wants them, the papers' own in the same layout. A layout turns a table in long form,
as a run wrote it to its CSV, into the one that is shown."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from shoplens.classification import comparison
from shoplens.report.claims import FEATURE_LETTERS
from shoplens.search import trained_networks


def read(csv: Path) -> pd.DataFrame:
    """A run's table; what looks like a number and is none is kept as it was written."""
    return pd.read_csv(csv, dtype={"p_values": str, "section": str})


def title(csv: Path) -> str:
    """The title that a run gave its table, from the readable twin beside the CSV; "" where there is none."""
    return _twin(csv).split("\n", 1)[0].strip("*")


def table_of_run(name: str, csv: Path) -> pd.DataFrame:
    """A run's table in its layout. Where it has none: every cell as the run wrote it into the readable twin, or the CSV
    itself where there is no twin or where a name in it holds the mark that stands between cells."""
    if name in LAYOUTS:
        return LAYOUTS[name](read(csv))
    lines = next((part for part in _twin(csv).split("\n\n") if part.startswith("|")), "").splitlines()
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    if len({len(row) for row in rows}) != 1:
        return read(csv)
    return pd.DataFrame(rows[2:], columns=rows[0])


def table_of_paper(name: str) -> pd.DataFrame:
    """The paper's numbers in the layout of the run's table of that name; KeyError where the paper has no such table."""
    table = comparison.paper_table(PAPERS[name]).rename(columns={"dataset": "protocol", "trained_on": "trained on"})
    return LAYOUTS[name](table.replace({"feature": FEATURE_LETTERS}))


def over_seeds(what: str, table: pd.DataFrame, rows: list[str]) -> str:
    """"mean over 1 to 3 seeds", "one seed": `what` the numbers of a table are, and of how many seeds each."""
    counts = table.groupby(rows)["seed"].nunique()
    if counts.max() == 1:
        return "one seed"
    few = f"{counts.min()} to " if counts.min() < counts.max() else ""
    return f"{what} over {few}{counts.max()} seeds"


def _twin(csv: Path) -> str:
    twin = csv.with_suffix(".md")
    return twin.read_text(encoding="utf-8") if twin.exists() else ""


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """`comparison.readable_gains` without the deviation over seeds where there is only one seed, and without a gain
    relative to nothing."""
    shown = comparison.readable_gains(table)
    shown["relative"] = shown["relative"].where(table["relative"].notna().to_numpy(), "–")
    return shown if (table["seeds"] > 1).any() else shown.drop(columns="sd over seeds")


def means(table: pd.DataFrame, rows: Sequence[str], across: str, form="{:.3f}".format) -> pd.DataFrame:
    """Means over seeds: one row per combination of `rows` (of those that the table has), one column per value of
    `across`."""
    keys = [name for name in rows if name in table]
    mean = table.groupby([*keys, across], sort=False)["value"].mean().reset_index()
    return _side_by_side(mean, keys, across, mean["value"].map(form, na_action="ignore"))


def attributes(table: pd.DataFrame) -> pd.DataFrame:
    """P1 Table 2 in percent: one row per score and one column per attribute, "all" last; mean over seeds."""
    wide = means(table, ["metric"], "attribute", lambda share: f"{100 * share:.1f}")
    return wide[sorted(wide, key="all".__eq__)]


def mistakes(table: pd.DataFrame) -> pd.DataFrame:
    """Number of errors, share inside the right root and distance: one row per variant, one column per number and image
    set; mean over seeds."""
    forms = {"errors": "{:,.0f}", "inside_root": "{:.1%}", "distance": "{:.2f}"}
    mean = table.groupby(["subset", "variant"], sort=False)[list(forms)].mean()
    text = pd.DataFrame({name.replace("_", " the "): mean[name].map(form.format).str.replace("%", " %")
                         for name, form in forms.items()})
    wide = text.unstack("subset")
    wide.columns = [f"{number}, {subset}" for number, subset in wide.columns]
    return wide.fillna("–").reset_index()


def whitening(table: pd.DataFrame) -> pd.DataFrame:
    """P2 §5.8: one row per feature and number of dimensions, with time and memory where they are known."""
    own = table[table["metric"].str.startswith("MAP")]
    columns = {own["metric"].iloc[0]: ("value", "{:.3f}"), "ms a query": ("milliseconds", "{:.2g}"),
               "gallery, MiB": ("gallery_mib", "{:.3g}")}
    mean = own.groupby(["protocol", "variant", "dimensions"], sort=False).mean(numeric_only=True)
    return pd.DataFrame({heading: mean[name].map(form.format) for heading, (name, form) in columns.items()
                         if name in mean}).reset_index()


def shares_inside(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Fig. 7 in numbers: one row per protocol and region, one column per share with its interval."""
    cells = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in table.itertuples()]
    return _side_by_side(table.rename(columns={"measure": "inside"}), ["protocol", "inside"], "metric", cells)


def search_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Paired differences, value and interval in one cell; where the table knows them, how many queries and products
    were asked, the smallest difference that this many can show, and p corrected for the number of comparisons."""
    keys = [key for key in ("protocol", "feature", "selection", "variant", "against") if key in table]
    shown, metric = table[keys].copy(), ", ".join(table["metric"].unique())
    if "score" in table:
        shown[metric] = table["score"].map("{:.3f}".format)
    shown[f"difference in {metric}"] = [f"{r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}]" for r in table.itertuples()]
    if "visible" in table:
        shown["queries · products"] = [f"{r.n:,} · {r.products}" for r in table.itertuples()]
        shown["smallest visible"], shown["p (Holm)"] = (table[name].map("{:.3f}".format) for name in ("visible",
                                                                                                       "p_holm"))
    return shown.assign(verdict=table["verdict"])


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """One row per statement: id, quote with section, and one column per place where it was checked, with the verdict
    and how many cases agree: "verdict · agree of cases"."""
    cells = [f"{r.verdict} · {r.agree} of {r.cases}" if r.cases else r.verdict for r in table.itertuples()]
    quote = "“" + table["quote"] + "” (" + table["paper"] + " §" + table["section"] + ")"
    named = table.assign(statement=table["claim"], **{"in the paper's words": quote})
    return _side_by_side(named, ["statement", "in the paper's words"], "where", cells)


def register(table: pd.DataFrame) -> pd.DataFrame:
    """The register of ambiguities: id, what is open and where, this study's reading, the others, what they changed."""
    where = " (" + table["paper"] + " §" + table["section"] + ")"
    return pd.DataFrame({"ambiguity": table["ambiguity"], "what is open": table["open"] + where,
                         "this study": table["default"], "other readings": table["other"],
                         "what they changed": table["effect"]})


def _side_by_side(table: pd.DataFrame, rows: list[str], across: str, cells: Sequence[str]) -> pd.DataFrame:
    """One row per combination of `rows`, one column per value of `across`, in the order in which they first appear; a
    dash where there is no cell."""
    wide = table.assign(cell=cells).pivot_table(index=rows, columns=across, values="cell", sort=False, aggfunc="first")
    return wide.fillna("–").reset_index().rename_axis(columns=None)


LAYOUTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "tables/table1_classification": comparison.as_in_paper,
    "tables/table1_gains": gains,
    "tables/ours_against_each": gains,
    "tables/ablations": gains,
    "tables/mistakes": mistakes,
    "tables/table2_attributes": attributes,
    "tables/table3_whole_and_cropped": partial(means, rows=("protocol", "variant", "metric"), across="setting"),
    "tables/table4_candidate_selection": trained_networks.as_in_table4,
    "tables/table4_gains": search_gains,
    "tables/table5_search": partial(means, rows=("protocol", "trained on", "variant", "distractors"), across="metric"),
    "tables/table5_gains": search_gains,
    "tables/table6_whitening": whitening,
    "tables/fig7_share_inside": shares_inside,
    "tables/search_ours": search_gains,
    "tables/claims": statements,
    "tables/ambiguities": register,
}
PAPERS = {      # the papers' own tables, files in results/paper
    "tables/table1_classification": "p1_table1",
    "tables/table2_attributes": "p1_table2",
    "tables/table3_whole_and_cropped": "p2_table3",
    "tables/table4_candidate_selection": "p2_table4",
    "tables/table5_search": "p2_table5",
    "tables/table6_whitening": "p2_table6",
}
