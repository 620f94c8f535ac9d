"""Intervals of search scores: over products with all their queries, crossed with seeds; the smallest gain that such a
test can see; many comparisons at once (P2 §5 prints none of these)."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from shoplens.statistics.bootstrap import Interval

POWER, LEVEL = 0.80, 0.95


@dataclass(frozen=True)
class Estimate(Interval):
    """A mean, or a paired difference of two means, with its interval. error: its standard error. products, seeds: how
    many of each were drawn from."""

    error: float
    products: int
    seeds: int

    @property
    def visible(self) -> float:
        """The smallest true difference that a two-sided test at level 0.05 sees in four of five repetitions."""
        return float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER)) * self.error

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference: Student's t with one degree of freedom less than products. 1 where nothing
        varies and nothing differs, or where a single product says nothing of others."""
        if self.products < 2 or self.value == 0:
            return 1.0
        return float(2 * t.sf(abs(self.value) / max(self.error, 1e-300), self.products - 1))


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
    of_seed, of_product = (_times_drawn(rng, n, n_resamples) for n in totals.shape)
    sums = ((of_seed @ totals) * of_product).sum(axis=1)
    means = sums / (of_seed.sum(axis=1) * (of_product @ queries))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(values.mean()), float(low), float(high), float(means.std(ddof=1)), len(queries), len(values))


def _times_drawn(rng: np.random.Generator, n: int, n_resamples: int) -> np.ndarray:
    """How often each of n units is among n − 1 draws (one, where there is a single unit): n_resamples × n."""
    return rng.multinomial(max(n - 1, 1), np.full(n, 1 / n), n_resamples)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: below 0.05, all of them together err in one of twenty tables at most (Holm, 1979).

    The smallest of m counts m times, the next m − 1 times, and none less than one before it. ValueError unless all
    lie in [0, 1].
    """
    p_values = np.asarray(p_values, float)
    if not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p-values lie in [0, 1], got {p_values[~((p_values >= 0) & (p_values <= 1))]}")
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted
