"""The share of weights that can be pruned without loss, with and without retraining, against model width."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.ladder import ladder
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.spare import MARGIN
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = ladder(item, measured)
    return Made(numbers, figures.missing(numbers), figure=_figure(numbers))


def _figure(numbers: pd.DataFrame) -> Figure:
    figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
    there = numbers.dropna(subset="spare")
    looks = {
        label: figures.look(place, "" if place % 2 else figures.DASHED)
        for place, label in enumerate(there["label"].unique())
    }
    points = there.rename(columns={"width": "x", "spare": "y", "label": "name"})
    figures.lines(axes, figures.ends(points, "y", "spare_sd"), looks)
    for row in points[points["bound"]].itertuples():
        axes.annotate(
            "",
            (row.x, row.y + 7),
            (row.x, row.y),
            arrowprops={"arrowstyle": "->", "color": looks[row.name].colour},
        )
    axes.set_xscale("log", base=2)
    axes.set(xlabel="Model dimension d (parameters)", ylabel=f"Weights that can go for {MARGIN:g} BLEU (%)")
    models = numbers.drop_duplicates("width").sort_values("width")
    axes.set_xticks(
        models["width"], [_tick(row.width, row.parameters) for row in models.itertuples()], minor=False
    )
    axes.set_ylim(0, 100)
    if len(there):
        axes.legend(loc="best", handlelength=3)
    else:
        figures.empty(axes)
    return figure


def _tick(width: int, parameters: float | None) -> str:
    return f"{width}" if parameters is None or np.isnan(parameters) else f"{width}\n({parameters / 1e6:.2g}M)"
