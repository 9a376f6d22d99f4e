"""Means and standard deviations over seeds."""

import math

import pytest

from nmtprune.measurements.seeds import deviation, mean


def test_mean_and_deviation_by_hand():
    assert mean([1.0, 2.0, 6.0]) == 3 and deviation([1.0, 2.0, 6.0]) == pytest.approx(math.sqrt(7))


def test_what_too_few_seeds_leave_open_is_not_a_number():
    assert math.isnan(mean([])) and math.isnan(deviation([])) and math.isnan(deviation([5.0]))
    assert mean([5.0]) == 5
