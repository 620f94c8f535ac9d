"""Plots of notebook 09b; the same rules as in `charts`."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from shoplens.figures.charts import PALETTE


def pulls(points: np.ndarray, labels: np.ndarray, found: dict[str, tuple[np.ndarray, np.ndarray | None]]) -> Figure:
    """Where losses pull points of the unit circle, one panel each. points: B×2. labels: int B, a colour each. found:
    name → (minus the gradient, B×2; directions M×2 drawn as rays, or None). Arrows lie along the circle, the longest of
    a panel always equally long."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.1 * len(found), 2.7), squeeze=False)
    turn = np.linspace(0, 2 * np.pi, 200)
    for axis, (name, (steps, rays)) in zip(axes[0], found.items(), strict=True):
        along = steps - (steps * points).sum(axis=1, keepdims=True) * points
        along = 0.7 * along / max(np.linalg.norm(along, axis=1).max(), 1e-12)
        axis.plot(np.cos(turn), np.sin(turn), color="lightgrey", zorder=0)
        for c, ray in enumerate(() if rays is None else rays):
            axis.plot([0, ray[0]], [0, ray[1]], ls="--", color=PALETTE[c])
        colours = [PALETTE[label] for label in labels]
        axis.scatter(*points.T, s=60, color=colours)
        axis.quiver(*points.T, *along.T, color=colours, angles="xy", scale_units="xy", scale=1, width=0.012)
        axis.set(title=name, aspect="equal", xlim=(-1.6, 1.6), ylim=(-0.5, 1.8), xticks=[], yticks=[])
    figure.tight_layout()
    return figure
