"""Pareto fronts of quality against cost (Behnke and Heafield 2021, section 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured


def front(item: Item, measured: Measured) -> pd.DataFrame:
    """The frame of an item, each model once, with a column `front_<cost>` for every measure of cost.

    It says whether a model is on the front. Quality is the item's first column, costs are the others.
    """
    numbers = frame(item, measured)
    if len(numbers):
        numbers = numbers[numbers["same_as"].isna()].reset_index(drop=True)
    quality, *costs = item.columns
    for cost in costs:
        more_is_better = METRICS[cost.metric].more_is_better
        numbers[f"front_{cost.key}"] = on_front(numbers[quality.key], numbers[cost.key], more_is_better)
    return numbers


def on_front(quality: pd.Series, cost: pd.Series, more_is_better: bool = False) -> np.ndarray:
    """Whether each point is on the front: no other point dominates it [points].

    A point dominates another if it is at least as good in both measures and better in one. Points that lack a
    measure are not on the front. `more_is_better`: the cost is a saving, such as words per second.
    """
    good, cheap = quality.to_numpy(float), cost.to_numpy(float) * (1 if more_is_better else -1)
    as_good = (good[None] >= good[:, None]) & (cheap[None] >= cheap[:, None])
    better = (good[None] > good[:, None]) | (cheap[None] > cheap[:, None])
    return ~(as_good & better).any(axis=1) & ~np.isnan(good) & ~np.isnan(cheap)
