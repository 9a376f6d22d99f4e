"""Plots in pages: positions in pixels."""

import math

import pytest

from nmtprune.reporting import plots


def test_the_bound_is_in_the_middle_and_what_holds_is_right_of_it():
    holds, fails = plots.interval(1.0, 2.0, 3.0, 0.5), plots.interval(-3.0, -2.0, -1.0, -0.5)
    assert holds.bound < holds.low < holds.value < holds.high == holds.width - plots.EDGE
    assert fails.bound > fails.high > fails.value > fails.low == plots.EDGE
    crosses = plots.interval(-1.0, 0.0, 1.0, 0.0)
    assert crosses.value == crosses.bound == pytest.approx((crosses.low + crosses.high) / 2)


def test_an_estimate_without_error_on_the_bound_is_a_point_in_the_middle():
    at_bound = plots.interval(0.0, 0.0, 0.0, 0.0)
    assert at_bound.low == at_bound.value == at_bound.high == at_bound.bound


def test_values_outside_an_axis_are_put_on_its_nearer_end():
    axis = plots.axis("BLEU", [], 200, 0, low=-10, high=0)
    assert [axis(value) for value in (-99, -10, -5, 0, 7)] == [200, 200, 100, 0, 0]
    assert [text for _, text in axis.ticks] == ["−10", "−8", "−6", "−4", "−2", "0"]


def test_an_axis_holds_its_values_with_space_and_one_value_too():
    axis = plots.axis("size", [1.0, 3.0, math.nan], 0, 100)
    assert 0 < axis(1.0) < axis(3.0) < 100
    assert plots.axis("size", [2.0], 0, 100)(2.0) == 50


def test_a_missing_value_interrupts_a_line():
    axis = plots.axis("", [], 0, 10, low=0, high=10)
    assert plots.path(axis, axis, [0, 1, 2, 3], [1, 2, math.nan, 4]) == "M0.0 1.0L1.0 2.0M3.0 4.0"
