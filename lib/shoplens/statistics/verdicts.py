"""The one rule that turns a gain with its interval into a word."""

from shoplens.statistics.bootstrap import Interval

BETTER, WORSE, INSIDE = "better", "worse", "inside the noise"
# Every verdict that a table of the study holds, on a gain or on a statement of a paper, and the tone it is shown in:
# what the numbers say to the question, from "no" over "unclear" and "none" (nothing to answer with) to "yes".
TONES = {WORSE: "no", "not reproduced": "no", "not true of its table": "no", INSIDE: "unclear",
         "cannot be seen here": "none", "not testable here": "none", "no numbers": "none",
         "true, inside the noise": "rather", "true, noise not known": "rather", "direction only": "rather",
         "true": "yes", "reproduced": "yes", BETTER: "yes"}


def verdict(gain: Interval) -> str:
    """"better" or "worse" where the interval excludes 0, else "inside the noise"."""
    if gain.low > 0:
        return BETTER
    return WORSE if gain.high < 0 else INSIDE
