"""Intervals of search scores: over products with all their queries, crossed with seeds (P2 §5 prints none)."""

import numpy as np

from shoplens.statistics.estimates import LEVEL, Estimate, estimate, times_drawn


def mean_over_products(scores: np.ndarray, products: np.ndarray, against: np.ndarray | None = None, *,
                       n_resamples: int = 1000, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Mean over queries and seeds with its percentile interval; with `against`, of the paired difference.

    scores, against: AP, say, of each query, Q, or S×Q of the same S seeds; a query with a NaN is left out. products:
    product of each query, Q. Queries of one product succeed and fail together, so a product is drawn with all of them;
    seeds are drawn on their own and meet every product drawn (crossed): the interval is for other products *and* other
    trainings. Of n units n − 1 are drawn, with replacement, so that the variance over draws is the unbiased one
    (McCarthy and Snowden, 1985): with n, three seeds would look a third less different than they are. A single seed or
    product is taken as it is: of others it says nothing. Raises ValueError where no query has a number.
    """
    values = np.atleast_2d(np.asarray(scores, float))
    if against is not None:
        values = values - np.atleast_2d(np.asarray(against, float))
    known = ~np.isnan(values).any(axis=0)
    if not known.any():
        raise ValueError("there is no query with a score")
    values, of_query = values[:, known], np.unique(np.asarray(products)[known], return_inverse=True)[1]
    totals, queries = np.stack([np.bincount(of_query, own) for own in values]), np.bincount(of_query)
    rng = np.random.default_rng(seed)
    of_seed, of_product = (times_drawn(rng, n, n_resamples) for n in totals.shape)
    sums = ((of_seed @ totals) * of_product).sum(axis=1)
    means = sums / (of_seed.sum(axis=1) * (of_product @ queries))
    return estimate(values.mean(), means, len(queries), len(values), level)
