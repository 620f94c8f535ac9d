"""Plots of the classification notebooks 04 and 07; the same rules as in `charts`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from shoplens.figures.charts import PALETTE, literal


def weight_heatmaps(before: np.ndarray, after: np.ndarray, mask: np.ndarray, sizes: tuple[int, ...],
                    layers: tuple[str, ...]) -> Figure:
    """MCR's W, n×n, fitted with R_c = Ω and with Eq. 4's R_c. Row c holds w_c; black lines outline R_c (`mask`)."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 6), sharey=True)
    ends = np.cumsum(sizes)
    middle = ends - np.asarray(sizes) / 2
    layers = [literal(layer) for layer in layers]
    titles = "$R_c = \\Omega$, outlined: what Eq. 4 picks", "refit on $R_c$"
    for axis, W, title in zip(axes, (before, after), titles, strict=True):
        limit = np.quantile(np.abs(W), 0.995)
        sns.heatmap(W, cmap="RdBu_r", center=0, vmin=-limit, vmax=limit, ax=axis, square=True,
                    cbar_kws={"label": "weight", "shrink": 0.7}, rasterized=True)
        axis.add_collection(LineCollection(outline(mask), colors="black", linewidths=0.6))
        axis.set(title=title, xlabel="score of category t")
        axis.hlines(ends[:-1], 0, len(W), color="grey", lw=1)
        axis.vlines(ends[:-1], 0, len(W), color="grey", lw=1)
        axis.set_xticks(middle, layers, rotation=25, ha="right", fontsize=9)
        axis.set_yticks(middle, layers, rotation=0, fontsize=9)
    axes[0].set_ylabel("refined category c")
    figure.tight_layout()
    return figure


def outline(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Segments around the True cells of a matrix, in cell coordinates (column, row)."""
    padded = np.pad(mask, 1)
    up = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])         # between row r−1 and r
    left = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    return [[(c, r), (c + 1, r)] for r, c in up] + [[(c, r), (c, r + 1)] for r, c in left]


def reliability(curves: pd.DataFrame) -> Figure:
    """Accuracy against stated confidence. curves: columns scores, confidence, accuracy, images; one row per bin."""
    figure, axis = plt.subplots(figsize=(5.2, 4.2))
    axis.plot([0, 1], [0, 1], color="grey", ls=":", label="says what it knows")
    for (name, own), colour in zip(curves.groupby("scores", sort=False), PALETTE, strict=False):
        axis.plot(own["confidence"], own["accuracy"], color=colour, label=name)
        axis.scatter(own["confidence"], own["accuracy"], s=12 + 200 * own["images"] / own["images"].sum(), color=colour)
    axis.set(xlabel="confidence in the best leaf (dot: share of images)", ylabel="accuracy", xlim=(0, 1.02),
             ylim=(0, 1.02))
    axis.legend(fontsize=8, loc="upper left")
    return figure


def gain_forest(gains: pd.DataFrame) -> Figure:
    """Gains with their intervals, one panel per subset and metric. gains: `comparison.gain_table`, with column subset.
    """
    subsets, metrics = list(dict.fromkeys(gains["subset"])), list(dict.fromkeys(gains["metric"]))
    variants = list(dict.fromkeys(gains["variant"]))
    colours = {"better": PALETTE[2], "worse": PALETTE[3], "inside the noise": "grey"}
    figure, axes = plt.subplots(len(subsets), len(metrics), figsize=(5 * len(metrics), 0.32 * len(variants)
                                * len(subsets) + 1.4 * len(subsets)), squeeze=False, sharex="col", sharey=True)
    for row, subset in zip(axes, subsets, strict=True):
        for axis, metric in zip(row, metrics, strict=True):
            own = gains[(gains["subset"] == subset) & (gains["metric"] == metric)]
            for r in own.itertuples():
                place, colour = variants.index(r.variant), colours[r.verdict]
                axis.plot([100 * r.low, 100 * r.high], [place, place], lw=2.5, color=colour)
                axis.plot(100 * r.value, place, "o", color=colour)
            axis.axvline(0, color="black", lw=1)
            axis.set_title(f"{metric}, {subset} images")
            axis.set_yticks(range(len(variants)), variants, fontsize=9)
            axis.set_ylim(len(variants) - 0.5, -0.5)
    for axis in axes[-1]:
        axis.set_xlabel(f"gain over {gains['against'].iloc[0]} [points]")
    handles = [plt.Line2D([], [], color=colour, marker="o", lw=2.5, label=name) for name, colour in colours.items()]
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=3, fontsize=9)
    figure.tight_layout()
    return figure


def root_bars(by_root: pd.DataFrame) -> Figure:
    """P1 Fig. 5: MACC of every variant inside each root, a panel a root, with intervals; the line is the first
    variant's. by_root: `comparison.macc_by_root`."""
    variants, roots = list(dict.fromkeys(by_root["variant"])), list(dict.fromkeys(by_root["root"]))
    colours = sns.color_palette(PALETTE, len(variants))
    columns = min(4, len(roots))
    rows = -(-len(roots) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.1 * columns, 2.3 * rows + 0.9), sharey=True, squeeze=False)
    for axis, root in zip(axes.flat, roots, strict=False):
        own = by_root[by_root["root"] == root].set_index("variant").reindex(variants)
        error = np.abs(100 * (own[["low", "high"]].to_numpy().T - own["value"].to_numpy()))
        axis.bar(range(len(variants)), 100 * own["value"], yerr=error, color=colours, error_kw={"lw": 1})
        axis.axhline(100 * own["value"].iloc[0], color="grey", lw=1, ls=":")
        axis.set(title=f"{literal(root)} ({own['n'].iloc[0]:.0f} images)", xticks=[])
    for axis in axes.flat[len(roots):]:
        axis.axis("off")
    for axis in axes[:, 0]:
        axis.set_ylabel("MACC [%]")
    bars = axes.flat[0].containers[-1] if axes.flat[0].containers else []
    figure.legend(bars, variants, loc="lower center", ncols=min(5, len(variants)), frameon=False)
    figure.tight_layout(rect=(0, 0.07 + 0.1 / rows, 1, 1))
    return figure
