"""Intervals of a mean over seeds; those of ACC and MACC are tested in test_accuracy."""

from shoplens.statistics.bootstrap import Interval, widened


def test_an_interval_is_as_wide_as_the_seeds_say():
    assert widened(Interval(0.1, 0.0, 0.2), [0.05, 0.15]) == Interval(0.1, 0.0, 0.2)
    assert widened(Interval(0.1, 0.0, 0.2), [-0.1, 0.3]) == Interval(0.1, -0.1, 0.3)
