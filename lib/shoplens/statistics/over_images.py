"""Intervals of ACC and MACC and of their differences: over test images, crossed with seeds."""

import numpy as np

from shoplens.statistics.estimates import LEVEL, Estimate, estimate, times_drawn


def score_over_images(correct: np.ndarray, labels: np.ndarray, statistic: str = "acc",
                      against: np.ndarray | None = None, *, n_resamples: int = 1000, level: float = LEVEL,
                      seed: int = 0) -> Estimate:
    """"acc" or "macc", mean over seeds, with its percentile interval; with `against`, of the paired difference.

    correct, against: S×N bools of the same S seeds and N images (or N, of one seed). labels: N class indices. Images
    are drawn with replacement, for MACC inside each class, so no class is ever missed; seeds are drawn on their own and
    meet every image drawn (crossed): the interval is for other images *and* other trainings. Of n units n − 1 are
    drawn, as in `over_products.mean_over_products`; a class with one image is taken as it is and adds no spread.
    ValueError for another statistic.
    """
    if statistic not in ("acc", "macc"):
        raise ValueError(f"statistic must be 'acc' or 'macc', got {statistic!r}")
    values = np.atleast_2d(np.asarray(correct, float))
    if against is not None:
        values = values - np.atleast_2d(np.asarray(against, float))
    labels = np.asarray(labels)
    strata = np.unique(labels, return_inverse=True)[1] if statistic == "macc" else np.zeros(len(labels), int)
    rng = np.random.default_rng(seed)
    of_seed = times_drawn(rng, len(values), n_resamples)
    means, value, count = np.zeros(n_resamples), 0.0, strata.max() + 1
    for stratum in range(count):
        own = values[:, strata == stratum]
        of_image = times_drawn(rng, own.shape[1], n_resamples)
        means += ((of_seed @ own) * of_image).sum(axis=1) / (of_seed.sum(axis=1) * of_image.sum(axis=1)) / count
        value += own.mean() / count
    return estimate(value, means, len(labels), len(values), level)
