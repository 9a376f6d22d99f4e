"""Rank correlation of two measures over the rows of an item."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd
from scipy.stats import spearmanr

FEWEST_POINTS = 3


class Correlation(NamedTuple):
    """Spearman's rank correlation over a number of points, with its two-sided p-value."""

    rho: float
    p: float
    points: int


def rank_correlation(x: pd.Series, y: pd.Series) -> Correlation | None:
    """Spearman's rank correlation of two measures of the same models, over models that have both.

    None for fewer than FEWEST_POINTS models, and if a measure has one value only.
    """
    both = pd.concat([x, y], axis=1).dropna()
    if len(both) < FEWEST_POINTS or both.nunique().min() < 2:
        return None
    result = spearmanr(both)
    return Correlation(float(result.statistic), float(result.pvalue), len(both))
