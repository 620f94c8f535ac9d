"""Plots. Each function draws one figure from arrays or tables and returns it; nothing is computed here that a table
would not hold."""

import inspect
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure

PALETTE = sns.color_palette("colorblind")
sns.set_theme(context="notebook", style="whitegrid", palette="colorblind",
              rc={"figure.dpi": 100, "savefig.bbox": "tight", "axes.titlesize": 11, "svg.fonttype": "none"})


def literal(text: object) -> str:
    """A name as it is: matplotlib would set what stands between two dollar signs as mathematics, or fail to."""
    return str(text).replace("$", r"\$")


def show_source(*objects) -> Markdown:
    """The library's own source of functions or classes, highlighted: what the page shows is what runs."""
    return Markdown("\n\n".join(f"```python\n{textwrap.dedent(inspect.getsource(o))}```" for o in objects))


def contact_sheet(images: np.ndarray, captions: list[str] | None = None, columns: int = 8,
                  framed: np.ndarray | None = None, side: float = 1.35) -> Figure:
    """Pictures in rows. images: uint8 N×S×S×3. framed: N bools, True draws a red frame (an error, say).

    Each line of a caption is cut to what fits above its picture.
    """
    fits = int(15 * side)
    rows = -(-len(images) // columns)
    height = side * (1.28 if captions else 1.0)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * side, rows * height), squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if i < len(images):
            axis.imshow(images[i])
            if captions:
                lines = [line if len(line) <= fits else line[: fits - 1] + "…" for line in captions[i].split("\n")]
                axis.set_title(literal("\n".join(lines)), fontsize=7, pad=3)
            if framed is not None and framed[i]:
                axis.add_patch(plt.Rectangle((0, 0), 1, 1, transform=axis.transAxes, fill=False, lw=4, ec="crimson"))
    figure.tight_layout(pad=0.4)
    return figure


def leaf_counts(counts: pd.DataFrame, leaf: str, root: str) -> Figure:
    """Long tail: images per leaf on a logarithmic axis, coloured by root. counts: columns `leaf`, `root`, images."""
    ordered = counts.sort_values("images", ascending=False)
    ordered = ordered.assign(**{column: ordered[column].map(literal) for column in (leaf, root)})
    figure, axis = plt.subplots(figsize=(7, max(3, 0.19 * len(ordered))))
    many = ordered[root].nunique() > len(PALETTE)
    sns.scatterplot(ordered, y=leaf, x="images", hue=root, style=root if not many else None, s=45, ax=axis,
                    palette="husl" if many else PALETTE[: ordered[root].nunique()])
    axis.set(xscale="log", xlabel="images (logarithmic)", ylabel="", ylim=(len(ordered) - 0.4, -0.6))
    axis.tick_params(axis="y", labelsize=7)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), fontsize=8, title=literal(root))
    return figure


def attribute_coverage(coverage: pd.DataFrame) -> Figure:
    """Share of images that carry a label, per attribute. coverage: columns attribute, images, share."""
    figure, axis = plt.subplots(figsize=(6, 0.5 * len(coverage) + 1.2))
    coverage = coverage.assign(attribute=coverage["attribute"].map(literal))
    sns.barplot(coverage, y="attribute", x="share", color=PALETTE[0], ax=axis)
    axis.bar_label(axis.containers[0], labels=[f"{n:,}" for n in coverage["images"]], padding=3, fontsize=8)
    axis.set(xlim=(0, 1.12), xlabel="share of images with a label (number: images)", ylabel="")
    return figure


def learning_curves(history: pd.DataFrame, scores: list[str]) -> Figure:
    """Training loss and validation scores by epoch; the dotted line marks the epoch that was kept."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
    left.plot(history["epoch"], history["loss"], marker=".", color=PALETTE[0])
    left.set(xlabel="epoch", ylabel="training loss (nats)", ylim=(0, None))
    for name, colour in zip(scores, PALETTE[1:], strict=False):
        right.plot(history["epoch"], history[name], marker=".", color=colour, label=name.upper())
    right.set(xlabel="epoch", ylabel="validation score", ylim=(0, 1))
    right.legend()
    for axis in (left, right):
        axis.axvline(history.loc[history["best"], "epoch"].iloc[0], ls=":", color="grey")
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.tight_layout()
    return figure


def confusion_excerpt(labels: np.ndarray, predicted: np.ndarray, names: list[str], most: int = 12) -> Figure:
    """The classes with the most errors: where their images go, as shares of each true class (rows sum to 1)."""
    wrong = np.bincount(labels[labels != predicted], minlength=len(names))
    shown = np.sort(np.argsort(-wrong, kind="stable")[: min(most, int((wrong > 0).sum()) or 1)])
    table = pd.crosstab(labels, predicted, normalize="index").reindex(index=shown, columns=shown, fill_value=0.0)
    table["elsewhere"] = 1 - table.sum(axis=1)
    short = [literal(names[c] if len(names[c]) < 22 else names[c][:20] + "…") for c in shown]
    figure, axis = plt.subplots(figsize=(0.55 * len(shown) + 3, 0.42 * len(shown) + 2))
    sns.heatmap(table, annot=True, fmt=".2f", annot_kws={"size": 7}, cmap="Blues", vmin=0, vmax=1, square=False,
                xticklabels=[*short, "elsewhere"], yticklabels=short, cbar_kws={"label": "share of the true class"},
                mask=table < 0.005, ax=axis)
    axis.set(xlabel="predicted", ylabel="true")
    axis.tick_params(labelsize=8)
    axis.set_xticklabels(axis.get_xticklabels(), rotation=45, ha="right")
    axis.set_yticklabels(axis.get_yticklabels(), rotation=0)
    return figure


def interval_bars(table: pd.DataFrame, by: str = "metric", score: str = "test score") -> Figure:
    """Scores with their intervals, a group of bars for each value of the column `by`. table: columns variant, value,
    low, high and `by`. score: what the values are."""
    groups, variants = list(dict.fromkeys(table[by])), list(dict.fromkeys(table["variant"]))
    figure, axis = plt.subplots(figsize=(max(7, 1.8 * len(groups)), 3.6))
    for v, variant in enumerate(variants):
        own = table[table["variant"] == variant].set_index(by).loc[groups]
        at = np.arange(len(groups)) + (v - (len(variants) - 1) / 2) * 0.8 / len(variants)
        error = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
        axis.bar(at, own["value"], 0.8 / len(variants), yerr=error, capsize=3, label=variant, color=PALETTE[v])
    axis.set_xticks(range(len(groups)), groups)
    axis.set(ylim=(0, 1.0), ylabel=score)
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=9)
    return figure


def attention_sheet(images: np.ndarray, maps: np.ndarray, captions: list[str] | None = None,
                    side: float = 1.5) -> Figure:
    """Pictures above the same pictures dimmed where attention is small (P1 Fig. 2).

    images: uint8 N×S×S×3. maps: N×h×w; each is stretched to run from 0 (black) to 1 (not dimmed) and drawn without
    smoothing, one square per place.
    """
    figure, axes = plt.subplots(2, len(images), figsize=(len(images) * side, 2 * side + 0.3), squeeze=False)
    for i, image in enumerate(images):
        low, high = maps[i].min(), maps[i].max()
        stretched = (maps[i] - low) / max(high - low, 1e-9)
        axes[0, i].imshow(image)
        axes[1, i].imshow(image)
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        axes[1, i].imshow(np.zeros_like(stretched), cmap="gray", alpha=0.85 * (1 - stretched), extent=extent)
        if captions:
            axes[0, i].set_title(literal(captions[i]), fontsize=7, pad=3)
    for axis in axes.flat:
        axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    return figure
