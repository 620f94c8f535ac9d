"""Was a network trained well enough to be judged? Doubts in words; `make accept-reference` refuses a run that has any.

A verdict on a method from networks that were cut short says how far each had come, not which is better.
"""

import numpy as np
import pandas as pd

SETTLED = 2     # last epochs, and as many before them, between which nothing may move any more


def plateau_doubts(history: pd.DataFrame, score: str, images: int) -> list[str]:
    """What speaks against the kept epoch lying on a plateau; [] where nothing does.

    history: as `training.fit` returns it. score: the validation score in [0, 1] that chose the epoch. images: number of
    validation images; the unit below is the standard error of a share of so many.
    Three rules. The rate had fallen to half of its highest or less: an epoch kept before that is a lucky moment of an
    unsettled network. The last two epochs are at most one standard error above the two before: the curve has stopped
    rising. They are at most two standard errors below the kept epoch: it was no peak that training then left.
    """
    kept = history[history["best"]].iloc[0]
    value, rates = kept[score], history["learning_rate"]
    error = float(np.sqrt(value * (1 - value) / images))
    doubts = []
    if len(history) < 2 * SETTLED:
        return [f"{len(history)} epochs are too few to see a plateau"]
    if kept["learning_rate"] > rates.max() / 2:
        doubts.append(f"the kept epoch, {kept['epoch']:.0f} of {len(history)}, still had {kept['learning_rate']:.2g} "
                      f"of a rate that reached {rates.max():.2g}")
    last, before = (history[score].iloc[part].mean() for part in (slice(-SETTLED, None), slice(-2 * SETTLED, -SETTLED)))
    if last - before > error:
        doubts.append(f"validation {score} still rose at the end, from {before:.3f} to {last:.3f} (one standard error "
                      f"is {error:.3f})")
    if value - last > 2 * error:
        doubts.append(f"validation {score} fell from {value:.3f} in epoch {kept['epoch']:.0f} to {last:.3f} at the end "
                      f"(two standard errors are {2 * error:.3f})")
    return doubts


def baseline_doubts(own: dict[str, float], other: dict[str, float], name: str) -> list[str]:
    """Scores in which a network does not beat a cheaper baseline, in words. own, other: score → test value in [0, 1];
    name: what the baseline is called."""
    return [f"{name} has the higher {score} on test: {other[score]:.3f}, the network {own[score]:.3f}"
            for score in own if other[score] >= own[score]]


def upper_layer_doubts(layer: str, own: float, implied: float, images: int) -> list[str]:
    """Whether the CNN of an upper layer is worse at it than what the leaf's CNN implies, by more than a standard error.

    own, implied: ACC in [0, 1] on the same test images. Eq. 4 rests on scores of upper layers being the more reliable.
    """
    error = float(np.sqrt(implied * (1 - implied) / images))
    if own >= implied - error:
        return []
    return [f"the CNN of layer {layer!r} has ACC {own:.3f} there, the leaf's implied answer {implied:.3f}"]
