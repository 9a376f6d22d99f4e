"""Pareto fronts on points."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.measurements.front import on_front

values = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


@given(values)
def test_a_front_is_what_nothing_dominates(points):
    quality, cost = (pd.Series(side, dtype=float) for side in zip(*points, strict=True))
    leads = on_front(quality, cost)
    for place, (good, dear) in enumerate(points):
        better = [(q, c) for q, c in points if q >= good and c <= dear and (q, c) != (good, dear)]
        assert leads[place] == (not better)
    assert leads.any() and (on_front(quality, -cost, more_is_better=True) == leads).all()


def test_what_lacks_a_measure_is_not_on_the_front():
    assert on_front(pd.Series([1.0, 2.0, np.nan]), pd.Series([1.0, np.nan, 0.5])).tolist() == [
        True,
        False,
        False,
    ]
