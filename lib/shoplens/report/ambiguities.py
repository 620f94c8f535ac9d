"""The ambiguity register (ambiguities.yml) with what the other reading changed, where a run measured it."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from shoplens import paths


def load_register() -> dict[str, dict]:
    """ambiguities.yml: id → row. `effect`, where there is one, says where its effect stands: a table's name (with * for
    several), the rows (`where`), and the rows they are compared with (`against`) unless the table holds gains."""
    return yaml.safe_load((paths.root() / "ambiguities.yml").read_text(encoding="utf-8"))


def effects(register: dict[str, dict], tables: Path) -> pd.DataFrame:
    """What runs measured, a row an effect: ambiguity, table, metric, other, value (a difference of scores), low, high
    (NaN where the table has no interval), on (which images or protocol). Empty where nothing ran.

    tables: folder of CSVs. Raises KeyError for a column that a table does not have.
    """
    found = []
    for name, row in register.items():
        for effect in row.get("effect", []):
            for file in sorted(tables.glob(f"{effect['table']}.csv")):
                found += [{"ambiguity": name, "table": file.stem} | told
                          for told in _differences(pd.read_csv(file), effect)]
    return pd.DataFrame(found, columns=["ambiguity", "table", "metric", "other", "value", "low", "high", "on"])


def _differences(table: pd.DataFrame, effect: dict) -> list[dict]:
    own = _rows(table, effect["where"])
    base = _rows(table, effect["against"]) if "against" in effect else None
    told = []
    for _, row in own.iterrows():
        value, low, high = row["value"], row.get("low", np.nan), row.get("high", np.nan)
        if base is not None:
            same = base[(base["metric"] == row["metric"]) & (base["seed"] == row["seed"])]
            value, low, high = value - same["value"].iloc[0], np.nan, np.nan
        on = [str(row[column]) for column in ("subset", "protocol", "feature", "split") if column in row]
        told.append({"metric": row["metric"], "other": ", ".join(map(str, effect["where"].values())), "value": value,
                     "low": low, "high": high, "on": " ".join(on)})
    return told


def _rows(table: pd.DataFrame, where: dict) -> pd.DataFrame:
    if missing := set(where) - set(table.columns):
        raise KeyError(f"ambiguities.yml asks for columns {sorted(missing)}; the table has {list(table.columns)}")
    return table[np.all([table[column] == value for column, value in where.items()], axis=0)]


def readable(register: dict[str, dict], measured: pd.DataFrame) -> pd.DataFrame:
    """The whole register as text, a row an ambiguity: paper, section, open, default, other, effect."""
    def told(name, row):
        own = measured[measured["ambiguity"] == name]
        lines = [f"{r.metric} {r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}] ({r.other}; {r.on})"
                 for r in own[own["low"].notna()].itertuples()]
        for (metric, other), runs in own[own["low"].isna()].groupby(["metric", "other"], sort=False)["value"]:
            span = f"from {runs.min():+.3f} to {runs.max():+.3f} in {len(runs)} runs"
            lines.append(f"{metric} {runs.mean():+.3f}, {span} ({other})")
        return "; ".join(lines) or ("no such run here" if "effect" in row else row["measured"])

    return pd.DataFrame([{"ambiguity": name, "paper": row["paper"], "section": row["section"], "open": row["open"],
                          "default": row["default"], "other": ", ".join(row["alternatives"]) or "–",
                          "effect": told(name, row)} for name, row in register.items()])
