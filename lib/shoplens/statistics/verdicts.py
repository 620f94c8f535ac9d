"""The one rule that turns a gain with its interval into a word."""

from collections.abc import Sequence

from shoplens.statistics.bootstrap import Interval

BETTER, WORSE, INSIDE = "better", "worse", "inside the noise"


def verdict(gain: Interval, by_seed: Sequence[float] = ()) -> str:
    """"better" or "worse" where the interval excludes 0 and, given the gains of each seed, all have that sign; else
    "inside the noise"."""
    if gain.low > 0 and all(one > 0 for one in by_seed):
        return BETTER
    return WORSE if gain.high < 0 and all(one < 0 for one in by_seed) else INSIDE
