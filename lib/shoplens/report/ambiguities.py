"""The ambiguity register (ambiguities.yml) with what the other reading changed, where a run measured it."""

import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from shoplens import paths


def load_register() -> dict[str, dict]:
    """ambiguities.yml: id → row. `effect`, where there is one, says where its effect stands: a table's name (with * for
    several), the rows (`where`), and the rows they are compared with (`against`) unless the table holds gains."""
    return yaml.safe_load((paths.root() / "ambiguities.yml").read_text(encoding="utf-8"))


def effects(register: dict[str, dict], tables: dict[str, Path]) -> pd.DataFrame:
    """What runs measured, one row per effect: ambiguity, table, metric, other, value (a difference of scores), low,
    high (NaN where the table has no interval), on (which images or protocol). Empty where nothing ran.

    tables: name → CSV. Raises KeyError for a column that a table does not have.
    """
    found = [_differences(pd.read_csv(tables[table]), effect).assign(ambiguity=name, table=table)
             for name, row in register.items() for effect in row.get("effect", [])
             for table in sorted(fnmatch.filter(tables, effect["table"]))]
    columns = ["ambiguity", "table", "metric", "other", "value", "low", "high", "on"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def _differences(table: pd.DataFrame, effect: dict) -> pd.DataFrame:
    """metric, other, value, low, high and on of the rows an effect names."""
    own = _rows(table, effect["where"])
    if "against" in effect:
        base = _rows(table, effect["against"])[["metric", "seed", "value"]].drop_duplicates(["metric", "seed"])
        own = own.merge(base, on=["metric", "seed"], suffixes=("", " before"))
        own = own.assign(value=own["value"] - own["value before"], low=np.nan, high=np.nan)
    where = [column for column in ("subset", "protocol", "feature", "split") if column in own]
    return own.reindex(columns=["metric", "value", "low", "high"]).assign(
        other=", ".join(map(str, effect["where"].values())), on=[" ".join(row) for row in own[where].to_numpy(str)])


def _rows(table: pd.DataFrame, where: dict) -> pd.DataFrame:
    if missing := set(where) - set(table.columns):
        raise KeyError(f"ambiguities.yml asks for columns {sorted(missing)}; the table has {list(table.columns)}")
    return table[np.all([table[column] == value for column, value in where.items()], axis=0)]


def readable(register: dict[str, dict], measured: pd.DataFrame) -> pd.DataFrame:
    """The whole register as text, one row per ambiguity: paper, section, open, default, other, effect."""
    return pd.DataFrame([{"ambiguity": name, "paper": row["paper"], "section": row["section"], "open": row["open"],
                          "default": row["default"], "other": ", ".join(row["alternatives"]) or "–",
                          "effect": _in_words(measured[measured["ambiguity"] == name])
                          or ("no such run here" if "effect" in row else row["measured"])}
                         for name, row in register.items()])


def _in_words(measured: pd.DataFrame) -> str:
    """The effects of one ambiguity: each with its interval, or else over all runs; "" where there is none."""
    with_interval = measured["low"].notna()
    lines = [f"{r.metric} {r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}] ({r.other}; {r.on})"
             for r in measured[with_interval].itertuples()]
    for (metric, other), runs in measured[~with_interval].groupby(["metric", "other"], sort=False)["value"]:
        span = f"from {runs.min():+.3f} to {runs.max():+.3f} in {len(runs)} runs"
        lines.append(f"{metric} {runs.mean():+.3f}, {span} ({other})")
    return "; ".join(lines)
