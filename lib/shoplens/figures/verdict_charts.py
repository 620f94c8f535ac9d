"""The verdicts on all statements as one picture."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

# From "the numbers say otherwise" over "cannot say" to "the numbers say so, clearly".
TONES = {"not reproduced": 0, "not true of its table": 0, "inside the noise": 1, "not testable here": 2,
         "no numbers": 2, "true, inside the noise": 3, "true, noise not known": 3, "direction only": 3, "true": 4,
         "reproduced": 4}
COLOURS = ("#d6604d", "#f3d9c9", "#ededed", "#c6dbef", "#4393c3")


def verdict_grid(table: pd.DataFrame) -> Figure:
    """A row a statement, a column a place it was checked: columns claim, where, verdict of `claims.check_…`."""
    wide = table.pivot_table(index="claim", columns="where", values="verdict", sort=False, aggfunc="first")
    wide = wide.fillna("not testable here")
    figure, axis = plt.subplots(figsize=(3.4 + 1.45 * wide.shape[1], 0.38 * len(wide) + 1.0))
    words = wide.map(lambda verdict: verdict.replace(", ", "\n"))
    sns.heatmap(wide.map(TONES.get).astype(int), annot=words, fmt="", cmap=sns.color_palette(COLOURS), vmin=0, vmax=4,
                cbar=False, linewidths=1, annot_kws={"fontsize": 7}, ax=axis)
    axis.set(xlabel="", ylabel="")
    axis.tick_params(axis="x", top=False, bottom=False, labeltop=True, labelbottom=False, labelsize=8)
    axis.tick_params(axis="y", left=False, labelsize=8)
    axis.set_xticks(axis.get_xticks(), [name.get_text().replace(", ", "\n") for name in axis.get_xticklabels()])
    return figure
