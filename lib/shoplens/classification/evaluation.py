"""Scores of classifiers: kept for the notebooks that refine or compare them, and summed up in tidy tables
(P1 §4.1: ACC and MACC at top-1 and top-5)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from shoplens.statistics import accuracy
from shoplens.statistics.bootstrap import Interval, bootstrap_accuracy

DEPTHS = (1, 5)     # P1's top-1 and top-5


@dataclass(frozen=True)
class Scores:
    """A classifier's scores of the images of each split.

    layer: layer of the hierarchy. rows: split → N row numbers of the catalogue. values: split → N×C scores, higher is
    likelier; a split may be left out. attributes: attribute → N×m scores of the test images' states.
    """

    layer: str
    rows: dict[str, np.ndarray]
    values: dict[str, np.ndarray]
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, file: Path) -> None:
        """Write everything into one .npz, scores as float32."""
        groups = {"rows": self.rows, "values": self.values, "attributes": self.attributes}
        arrays = {f"{group}/{name}": array if group == "rows" else np.asarray(array, np.float32)
                  for group, members in groups.items() for name, array in members.items()}
        np.savez(file, layer=self.layer, **arrays)

    @classmethod
    def load(cls, file: Path) -> "Scores":
        """Read what `save` wrote."""
        groups = {"rows": {}, "values": {}, "attributes": {}}
        with np.load(file) as arrays:
            for key in arrays.files:
                group, _, name = key.partition("/")
                if group in groups:
                    groups[group][name] = arrays[key]
            return cls(str(arrays["layer"]), **groups)

    def hits(self, labels: np.ndarray, k: int = 1, split: str = "test") -> np.ndarray:
        """N bools: is the label among the k best? labels: class of every row of the catalogue."""
        return accuracy.top_k_correct(self.values[split], labels[self.rows[split]], k)


def evaluate(scores: dict[str, np.ndarray], labels: np.ndarray, *, n_resamples: int = 1000,
             **columns) -> pd.DataFrame:
    """Tidy table of P1's scores: ACC and MACC at top-1 and top-5, each with its 95 % interval.

    scores: variant → N×C. labels: N class indices. columns: further ones, the same in every row (dataset, profile,
    subset, seed, layer). Columns of the table: those, then variant, metric, k, value, n, low, high.
    """
    table = []
    for variant, values in scores.items():
        for k in (k for k in DEPTHS if k < values.shape[1]):
            hit = accuracy.top_k_correct(values, labels, k)
            for metric in ("ACC", "MACC"):
                interval = bootstrap_accuracy(hit, labels, metric.lower(), n_resamples=n_resamples)
                table.append(columns | {"variant": variant, "metric": metric, "k": k, "value": interval.value,
                                        "n": len(hit), "low": interval.low, "high": interval.high})
    return pd.DataFrame(table)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """`evaluate`'s table in percent: one row per variant, one column per score, intervals in brackets."""
    shown = table.assign(score=table["metric"] + " top-" + table["k"].astype(str), interval=[
        f"{100 * r.value:.1f} [{100 * r.low:.1f}, {100 * r.high:.1f}]" for r in table.itertuples()])
    order = list(dict.fromkeys(shown["variant"]))
    return shown.pivot(index="variant", columns="score", values="interval").loc[order].reset_index()


@dataclass(frozen=True)
class Gain:
    """How one classifier compares with another on the same images: intervals of the differences, McNemar's p."""

    acc: Interval
    macc: Interval
    p_value: float

    def __str__(self) -> str:
        return f"ACC {self.acc}, MACC {self.macc}, McNemar p = {self.p_value:.2g}"


def compare(hits: np.ndarray, against: np.ndarray, labels: np.ndarray, n_resamples: int = 1000) -> Gain:
    """Paired comparison over images, `hits` minus `against`. hits, against: N bools. labels: N class indices."""
    acc, macc = (bootstrap_accuracy(hits, labels, m, against=against, n_resamples=n_resamples) for m in ("acc", "macc"))
    return Gain(acc, macc, accuracy.mcnemar(hits, against))
