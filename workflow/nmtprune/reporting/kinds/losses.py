"""Losses through the trainings of a chain, as one curve over all updates with marks between trainings."""

from __future__ import annotations

import itertools

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements import histories
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

CURVES = dict(zip(histories.LOSSES, ("training", "development"), strict=True))


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = histories.losses(item, measured)
    return Made(numbers, figures.missing(numbers), figure=losses(numbers))


def losses(numbers: pd.DataFrame) -> Figure:
    """Training and development loss of each row against updates, with a vertical line between trainings."""
    points = numbers[numbers["missing"] == ""]
    several = points["row"].nunique() > 1
    figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
    axes.set(xlabel="Updates", ylabel="Negative log-likelihood per target token")
    if points.empty:
        figures.empty(axes)
        return figure
    names = {
        (label, curve): f"{label}, {curve}" if several else curve.capitalize()
        for label in points["label"].unique()
        for curve in CURVES.values()
    }
    looks = {
        name: figures.look(place, figures.DASHED if place % 2 else "")
        for place, name in enumerate(names.values())
    }
    curves = points.rename(columns={"update": "x", **CURVES}).melt(
        ["row", "label", "seed", "x"], CURVES.values(), "curve", "y"
    )
    curves["name"] = [names[pair] for pair in zip(curves["label"], curves["curve"], strict=True)]
    models = curves["row"].astype(str) + "/" + curves["seed"].astype(str)
    figures.lines(axes, curves, looks, units=models, estimator=None, linewidth=1.4, markersize=3)
    for update, between in _breaks(points):
        axes.axvline(update, color="#666666", linewidth=0.9, linestyle=(0, figures.DOTTED), zorder=1)
        axes.annotate(
            between,
            (update, 1),
            (-3, -2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7.5,
        )
    axes.legend(loc="best", handlelength=3)
    return figure


def _breaks(points: pd.DataFrame) -> list[tuple[int, str]]:
    """The updates at which a training follows another, with the steps between them (`prune-global-80`).

    If there are no steps between them, with the name of the second training.
    """
    breaks = {}
    for _, line in points.groupby(["row", "seed"], sort=False):
        begun = line.groupby("chain", sort=False)[["update", "update_of_step"]].first()
        chains = list(begun.index)
        for before, chain in itertools.pairwise(chains):
            between = chain.removeprefix(f"{before}/").split("/")
            start = int(begun.loc[chain, "update"] - begun.loc[chain, "update_of_step"])
            breaks[start, ", ".join(between[:-1] or between)] = None
    return sorted(breaks)
