"""Plots of the classification notebooks 04 and 07; the same rules as in `figures`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from shoplens.figures import PALETTE


def weight_heatmaps(before: np.ndarray, after: np.ndarray, mask: np.ndarray, sizes: tuple[int, ...],
                    layers: tuple[str, ...]) -> Figure:
    """MCR's W, n×n, fitted with R_c = Ω and with Eq. 4's R_c. Row c holds w_c; black lines outline R_c (`mask`)."""
    figure, axes = plt.subplots(1, 2, figsize=(13, 6), sharey=True)
    ends = np.cumsum(sizes)
    middle = ends - np.asarray(sizes) / 2
    titles = "$R_c = \\Omega$, outlined: what Eq. 4 picks", "refit on $R_c$"
    for axis, W, title in zip(axes, (before, after), titles, strict=True):
        limit = np.quantile(np.abs(W), 0.995)
        sns.heatmap(W, cmap="RdBu_r", center=0, vmin=-limit, vmax=limit, ax=axis, square=True,
                    cbar_kws={"label": "weight", "shrink": 0.7}, rasterized=True)
        axis.add_collection(LineCollection(outline(mask), colors="black", linewidths=0.6))
        axis.set(title=title, xlabel="score of category t")
        axis.hlines(ends[:-1], 0, len(W), color="grey", lw=1)
        axis.vlines(ends[:-1], 0, len(W), color="grey", lw=1)
        axis.set_xticks(middle, layers, rotation=0, fontsize=9)
        axis.set_yticks(middle, layers, rotation=90, va="center", fontsize=9)
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
    """Accuracy against stated confidence. curves: columns scores, confidence, accuracy, images; one row a bin."""
    figure, axis = plt.subplots(figsize=(5.2, 4.2))
    axis.plot([0, 1], [0, 1], color="grey", ls=":", label="says what it knows")
    for (name, own), colour in zip(curves.groupby("scores", sort=False), PALETTE, strict=False):
        axis.plot(own["confidence"], own["accuracy"], color=colour, label=name)
        axis.scatter(own["confidence"], own["accuracy"], s=12 + 200 * own["images"] / own["images"].sum(), color=colour)
    axis.set(xlabel="confidence in the best leaf (dot: share of images)", ylabel="accuracy", xlim=(0, 1.02),
             ylim=(0, 1.02))
    axis.legend(fontsize=8, loc="upper left")
    return figure
