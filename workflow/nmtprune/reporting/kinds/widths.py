"""The widths of layers during a training under the group lasso, from the training's history.

Behnke and Heafield 2021, figure 2.
"""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment import shapes
from nmtprune.experiment.papers import Item
from nmtprune.measurements import histories
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = histories.widths(item, measured)
    return Made(numbers, figures.missing(numbers), figure=lines(item, numbers))


def lines(item: Item, numbers: pd.DataFrame) -> Figure:
    """Units left against updates, with one line for each layer from dark to light.

    There is one row of panels for each model (first seed), and one panel for each side.
    """
    shown = [place for place, row in enumerate(item.rows, 1)] or [0]
    figure, panels = pyplot.subplots(
        len(shown),
        2,
        figsize=(7.4, 3.2 * len(shown)),
        sharex="row",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for place, number in enumerate(shown):
        points = numbers[(numbers["row"] == number) & (numbers["missing"] == "")]
        points = points[points["seed"] == points["seed"].min()]
        for axes, side in zip(panels[place], shapes.SIDES, strict=True):
            title = f"{item.rows[number - 1].label}: {side}" if len(shown) > 1 else side.capitalize()
            axes.set(title=title, xlabel="Updates under the penalty")
            measures = [
                name for name in points if name.startswith(f"ffn_{side}_") and points[name].notna().any()
            ]
            layers = {name: f"layer {name.rpartition('_')[2]}" for name in measures}
            if layers:
                left = points.rename(columns=layers).melt("update", layers.values(), "layer", "units")
                seaborn.lineplot(
                    left,
                    x="update",
                    y="units",
                    hue="layer",
                    style="layer",
                    palette="viridis",
                    estimator=None,
                    ax=axes,
                )
                axes.set_ylim(bottom=0)
                axes.legend(ncols=1 if len(layers) <= 6 else 2, handlelength=2.6)
            else:
                figures.empty(axes)
        panels[place][0].set_ylabel("FFN units left")
    return figure
