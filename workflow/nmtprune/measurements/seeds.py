"""Means and standard deviations over seeds; NaN where too few seeds have a value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def mean(values: Sequence[float] | np.ndarray) -> float:
    """The mean of one value per seed; NaN without values."""
    return float(np.mean(values)) if len(values) else math.nan


def deviation(values: Sequence[float] | np.ndarray) -> float:
    """The standard deviation of one value per seed, around its mean; NaN for fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
