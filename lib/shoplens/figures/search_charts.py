"""Plots of the search notebooks; the same rules as in `charts`. What only notebook 10 draws stands there, so that a
changed plot of its own trains no network again."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from shoplens.figures.charts import PALETTE, contact_sheet

EMPTY = 245     # grey of a place where no picture stands


def ranking_sheet(pictures: np.ndarray, items: np.ndarray, rows: np.ndarray, labels: list[str]) -> Figure:
    """Rankings, one line each: the query, then its first results. A red frame is another product.

    pictures: uint8 N×S×S×3 and items: product, of all rows. rows: int n×(1 + results), the query first. labels: n
    texts above the queries.
    """
    captions = [text for label in labels for text in (label, *[str(place) for place in range(1, rows.shape[1])])]
    wrong = items[rows] != items[rows[:, :1]]
    return contact_sheet(pictures[rows.ravel()], captions, columns=rows.shape[1], framed=wrong.ravel(), side=1.1)


def candidate_sheet(pictures: np.ndarray, mined_log: list[tuple], count: int = 4) -> Figure:
    """What a query learned from, one line per entry of `QueryBatches.mined_log`: the query, p', n', then its first
    `count` hard negatives and ambiguous positives; grey where there are fewer. pictures: uint8 of all rows, N×S×S×3."""
    rows, captions = [], []
    for epoch, _, candidates in mined_log:
        hard = np.r_[candidates.hard_negatives, np.full(count, -1)][:count]
        ambiguous = np.r_[candidates.ambiguous_positives, np.full(count, -1)][:count]
        rows += [candidates.query, candidates.positive, candidates.nearest_negative, *hard, *ambiguous]
        roles = ["query", f"p' (positive {candidates.positive_rank})", "n'", *[f"hard {i + 1}" for i in range(count)],
                 *[f"ambiguous {i + 1}" for i in range(count)]]
        captions += [f"{role}\nepoch {epoch + 1}" for role in roles]
    rows = np.array(rows, int)
    shown = np.where((rows >= 0)[:, None, None, None], pictures[np.maximum(rows, 0)], EMPTY).astype(np.uint8)
    return contact_sheet(shown, captions, columns=3 + 2 * count, side=1.1)


def training_curves(history: pd.DataFrame, before: dict[str, float], k: int, shown: tuple[str, str] = (
        "triplets", "triplets per query"), lines: dict[str, float] | None = None) -> Figure:
    """What training minimises or meets, and validation scores by epoch. history: as `training.fit` returns it. before:
    score (map, acc) before training, drawn as epoch 0. k: of MAP@k and ACC@k. shown: column of the left panel and what
    it is. lines: name → a score of what was not trained, drawn across."""
    curve = pd.concat([pd.DataFrame([{"epoch": 0, **before, "best": False}]), history])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    left.plot(history["epoch"], history[shown[0]], marker=".", color=PALETTE[0])
    left.set(xlabel="epoch", ylabel=shown[1], ylim=(0, None))
    for name, colour in zip(before, PALETTE[1:], strict=False):
        right.plot(curve["epoch"], curve[name], marker=".", color=colour, label=f"{name.upper()}@{k}")
    for (name, value), style in zip((lines or {}).items(), ("--", "-."), strict=False):
        right.axhline(value, ls=style, color="grey", label=name)
    right.axvline(history.loc[history["best"], "epoch"].iloc[0], ls=":", color="grey")
    right.set(xlabel="epoch (0: before training)", ylabel="validation", ylim=(0, 1))
    right.legend(fontsize=8)
    return figure


def drift_curve(drift: pd.DataFrame, queries: int, margin: float) -> Figure:
    """How far features had moved at each refresh. drift: columns epoch (from 0), query (queries before it in its
    epoch) and moved. queries: per epoch. margin: drawn for scale."""
    figure, axis = plt.subplots(figsize=(6, 3))
    axis.plot(drift["epoch"] + 1 + drift["query"] / queries, drift["moved"], marker="o", color=PALETTE[0])
    axis.axhline(margin, ls=":", color="grey", label="margin")
    axis.set(xlabel="epoch", ylabel="mean squared movement", ylim=(0, None))
    axis.legend()
    return figure
