"""Tables of the analysis runs as a reader wants them, the paper's own in the same layout."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shoplens.classification import comparison
from shoplens.report.claims import FEATURE_LETTERS
from shoplens.search import scoring


@dataclass(frozen=True)
class Layout:
    """view: a run's CSV → what is shown. paper: name of the paper's table, "" where it has none. renamed: the paper's
    columns in our words, so that `view` takes both."""

    view: Callable[[pd.DataFrame], pd.DataFrame]
    paper: str = ""
    renamed: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table

    def of_paper(self) -> pd.DataFrame | None:
        """The paper's numbers as `view` shows ours; None where there are none."""
        return self.view(self.renamed(comparison.paper_table(self.paper))) if self.paper else None


def read(csv: Path) -> pd.DataFrame:
    """A run's table, with what looks like a number and is none kept as it was written."""
    return pd.read_csv(csv, dtype={"p_values": str, "section": str})


def gains(table: pd.DataFrame) -> pd.DataFrame:
    """`analysis.readable_gains`, without the deviation over seeds where there is one seed only, and without a gain
    relative to nothing."""
    shown = comparison.readable_gains(table)
    shown["relative"] = shown["relative"].where(table["relative"].notna().to_numpy(), "–")
    return shown if (table["seeds"] > 1).any() else shown.drop(columns="sd over seeds")


def attributes(table: pd.DataFrame) -> pd.DataFrame:
    """P1 Table 2 in percent: a row a score, a column an attribute, "all" last; mean over seeds."""
    wide = (100 * table.groupby(["metric", "attribute"], sort=False)["value"].mean()).unstack("attribute")
    wide = wide[[name for name in wide if name != "all"] + [name for name in wide if name == "all"]]
    return _filled(wide, "{:.1f}")


def mistakes(table: pd.DataFrame) -> pd.DataFrame:
    """A row a variant, mean over seeds: number, share inside the right root and distance of errors by image set."""
    forms = {"errors": "{:,.0f}", "inside_root": "{:.1%}", "distance": "{:.2f}"}
    mean = table.groupby(["subset", "variant"], sort=False)[list(forms)].mean()
    text = pd.DataFrame({name.replace("_", " the "): mean[name].map(form.format).str.replace("%", " %")
                         for name, form in forms.items()})
    wide = text.unstack("subset")
    wide.columns = [f"{what}, {subset}" for what, subset in wide.columns]
    return wide.fillna("–").reset_index()


def whole_and_cropped(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Table 3: a row a protocol, feature and metric, a column a setting; mean over seeds."""
    keys = ["protocol", "variant", "metric"]
    return _filled(table.groupby([*keys, "setting"], sort=False)["value"].mean().unstack("setting"), "{:.3f}")


def searches(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Table 5: a row a protocol and feature, a column a metric; mean over seeds."""
    keys = [key for key in ("protocol", "trained on", "variant", "distractors") if key in table]
    return _filled(table.groupby([*keys, "metric"], sort=False)["value"].mean().unstack("metric"), "{:.3f}")


def whitening(table: pd.DataFrame) -> pd.DataFrame:
    """P2 §5.8: a row a feature and number of dimensions, with the time and memory where they are known."""
    own = table[table["metric"].str.startswith("MAP")]
    columns = {"value": ("{:.3f}", own["metric"].iloc[0]), "milliseconds": ("{:.2g}", "ms a query"),
               "gallery_mib": ("{:.3g}", "gallery, MiB")}
    columns = {name: told for name, told in columns.items() if name in own}
    mean = own.groupby(["protocol", "variant", "dimensions"], sort=False)[list(columns)].mean()
    shown = {heading: mean[name].map(form.format) for name, (form, heading) in columns.items()}
    return pd.DataFrame(shown).reset_index()


def shares_inside(table: pd.DataFrame) -> pd.DataFrame:
    """P2 Fig. 7 in numbers: a row a protocol and region, a column a share with its interval."""
    told = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in table.itertuples()]
    wide = table.assign(told=told, inside=table["measure"]).pivot_table(
        index=["protocol", "inside"], columns="metric", values="told", sort=False, aggfunc="first")
    return wide.reset_index().rename_axis(columns=None)


def search_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Paired differences for the eye, value and interval in one cell."""
    keys = [key for key in ("protocol", "feature", "selection", "variant", "against") if key in table]
    shown, metric = table[keys].copy(), ", ".join(table["metric"].unique())
    if "score" in table:
        shown[metric] = table["score"].map("{:.3f}".format)
    shown[f"difference in {metric}"] = [f"{r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}]" for r in table.itertuples()]
    return shown.assign(verdict=table["verdict"])


def statements(table: pd.DataFrame) -> pd.DataFrame:
    """A row a statement: id, quote with section, and a column a place it was checked, "verdict · agreeing cases"."""
    told = [f"{r.verdict} · {r.agree} of {r.cases}" if r.cases else r.verdict for r in table.itertuples()]
    quote = "“" + table["quote"] + "” (" + table["paper"] + " §" + table["section"] + ")"
    wide = table.assign(told=told, quote=quote).pivot_table(
        index=["claim", "quote"], columns="where", values="told", sort=False, aggfunc="first")
    wide = wide.fillna("–").reset_index().rename(columns={"claim": "statement", "quote": "in the paper's words"})
    return wide.rename_axis(columns=None)


def register(table: pd.DataFrame) -> pd.DataFrame:
    """The register of ambiguities: id, what is open and where, this study's reading, the others, what they changed."""
    where = " (" + table["paper"] + " §" + table["section"] + ")"
    return pd.DataFrame({"ambiguity": table["ambiguity"], "what is open": table["open"] + where,
                         "this study": table["default"], "other readings": table["other"],
                         "what they changed": table["effect"]})


def _filled(wide: pd.DataFrame, form: str) -> pd.DataFrame:
    """Numbers as text, empty places as a dash, rows numbered from 0."""
    text = wide.map(lambda value: "–" if pd.isna(value) else form.format(value))
    return text.reset_index().rename_axis(columns=None)


def _table4(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(protocol=table["dataset"], seed=0, feature=table["feature"].map(FEATURE_LETTERS))


def _protocol(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(columns={"dataset": "protocol", "trained_on": "trained on"})


LAYOUTS = {
    "tables/table1_classification": Layout(comparison.as_in_paper, "p1_table1"),
    "tables/table1_gains": Layout(gains),
    "tables/ours_against_each": Layout(gains),
    "tables/ablations": Layout(gains),
    "tables/mistakes": Layout(mistakes),
    "tables/table2_attributes": Layout(attributes, "p1_table2"),
    "tables/table3_whole_and_cropped": Layout(whole_and_cropped, "p2_table3", _protocol),
    "tables/table4_candidate_selection": Layout(scoring.as_in_table4, "p2_table4", _table4),
    "tables/table4_gains": Layout(search_gains),
    "tables/table5_search": Layout(searches, "p2_table5", _protocol),
    "tables/table5_gains": Layout(search_gains),
    "tables/table6_whitening": Layout(whitening, "p2_table6", _protocol),
    "tables/fig7_share_inside": Layout(shares_inside),
    "tables/search_ours": Layout(search_gains),
    "tables/claims": Layout(statements),
    "tables/ambiguities": Layout(register),
}
