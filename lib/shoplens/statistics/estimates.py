"""What a test says besides its interval: the smallest gain it can see, a p-value, and many comparisons at once."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from shoplens.statistics.bootstrap import Interval
from shoplens.statistics.verdicts import INSIDE, verdict

POWER, LEVEL = 0.80, 0.95


@dataclass(frozen=True)
class Estimate(Interval):
    """A score, or a paired difference of two, with its interval. error: its standard error. units, seeds: how many
    products (or images) and trainings were drawn from."""

    error: float
    units: int
    seeds: int

    @property
    def visible(self) -> float:
        """The smallest true difference that a two-sided test at level 0.05 sees in four of five repetitions."""
        return float(norm.ppf((1 + LEVEL) / 2) + norm.ppf(POWER)) * self.error

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference: Student's t with one degree of freedom less than units. 1 where nothing
        varies and nothing differs, or where a single unit says nothing of others."""
        if self.units < 2 or self.value == 0:
            return 1.0
        return float(2 * t.sf(abs(self.value) / max(self.error, 1e-300), self.units - 1))


def estimate(value: float, resampled: np.ndarray, units: int, seeds: int, level: float = LEVEL) -> Estimate:
    """`value` with the percentile interval and the spread of its bootstrap resamples."""
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(value), float(low), float(high), float(resampled.std(ddof=1)), units, seeds)


def times_drawn(rng: np.random.Generator, n: int, n_resamples: int) -> np.ndarray:
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


def judged(rows: list[dict]) -> pd.DataFrame:
    """The table of all comparisons, rows with value, low, high and p_value, with p_holm, corrected for their number,
    and the verdict: "better" or "worse" where the interval leaves out 0 and p_holm is below 0.05, else "inside the
    noise"."""
    table = pd.DataFrame(rows)
    if not len(table):
        return table
    words = [verdict(Interval(r.value, r.low, r.high)) for r in table.itertuples()]
    p_holm = holm(table["p_value"].to_numpy())
    return table.assign(p_holm=p_holm, verdict=np.where(p_holm < 1 - LEVEL, words, INSIDE))
