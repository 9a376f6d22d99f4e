"""Rank correlation of two measures over rows."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.measurements.correlation import rank_correlation

points = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=3, max_size=12)


def columns(pairs):
    return [pd.Series(side, dtype=float) for side in zip(*pairs, strict=True)]


def test_a_correlation_by_hand():
    found = rank_correlation(*columns([(1, 10), (2, 30), (3, 20), (4, 40)]))
    assert found.rho == pytest.approx(0.8) and found.points == 4  # 1 - 6 * 2 / (4 * 15)


@given(points)
def test_monotone_maps_change_nothing_and_a_falling_one_the_sign(pairs):
    x, y = columns(pairs)
    found = rank_correlation(x, y)
    if found is None:
        assert min(x.nunique(), y.nunique()) < 2
        return
    assert rank_correlation(x.map(math.exp), 3 * y + 1) == pytest.approx(found)
    assert rank_correlation(-x, y).rho == pytest.approx(-found.rho)


def test_rows_that_lack_a_measure_do_not_count():
    pairs = [(1, 1), (2, 2), (3, 3)]
    assert rank_correlation(*columns([*pairs, (math.nan, 9), (9, math.nan)])) == rank_correlation(
        *columns(pairs)
    )


@pytest.mark.parametrize("pairs", [[(1, 1), (2, 2)], [(1, 5), (2, 5), (3, 5)], []])
def test_too_few_points_and_constant_measures_have_no_correlation(pairs):
    x, y = columns(pairs) if pairs else (pd.Series(dtype=float), pd.Series(dtype=float))
    assert rank_correlation(x, y) is None
