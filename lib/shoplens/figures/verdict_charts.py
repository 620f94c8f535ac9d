"""The verdicts on all statements as one picture."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from shoplens.statistics.verdicts import TONES

# By tone, from "the numbers say otherwise" over "cannot say" to "the numbers say so, clearly".
COLOURS = {"no": "#d6604d", "unclear": "#f3d9c9", "none": "#ededed", "rather": "#c6dbef", "yes": "#4393c3"}


def verdict_grid(table: pd.DataFrame) -> Figure:
    """One row per statement, one column per place where it was checked. table: columns claim, where and verdict."""
    wide = table.pivot_table(index="claim", columns="where", values="verdict", sort=False, aggfunc="first")
    wide = wide.fillna("not testable here")
    figure, axis = plt.subplots(figsize=(3.4 + 1.45 * wide.shape[1], 0.38 * len(wide) + 1.0))
    words = wide.map(lambda verdict: verdict.replace(", ", "\n"))
    tones = wide.map(lambda verdict: list(COLOURS).index(TONES[verdict]))
    sns.heatmap(tones, annot=words, fmt="", cmap=sns.color_palette(COLOURS.values()), vmin=0, vmax=len(COLOURS) - 1,
                cbar=False, linewidths=1, annot_kws={"fontsize": 7}, ax=axis)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="x", top=False, bottom=False, labeltop=True, labelbottom=False, labelsize=8)
    axis.tick_params(axis="y", left=False, labelsize=8)
    axis.set_xticks(axis.get_xticks(), [name.get_text().replace(", ", "\n") for name in axis.get_xticklabels()])
    return figure
