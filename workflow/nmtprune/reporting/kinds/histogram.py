"""Histograms of the norms of weight groups when a model was sliced, with cuts below which groups are dead."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.norms import cut, group_norms
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

# For each column of panels, the matrices whose groups it shows.
PANELS = {
    "FFN": {"fc1": "W1, rows", "fc2": "W2, columns"},
    "Attention": {"q_proj": "Q", "k_proj": "K", "v_proj": "V", "out_proj": "O"},
}
SMALLEST = 1e-12  # where a group of zeros is drawn on the logarithmic axis
BINS = 60


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = group_norms(item, measured)
    return Made(numbers, figures.missing(numbers), figure=histogram(item, measured))


def histogram(item: Item, measured: Measured) -> Figure:
    """The numbers of groups by root mean square, one line for each matrix, with cuts as dashed lines.

    There is one row of panels for each model (its first seed).
    """
    of_models = [measured.norms(row.first) for row in item.rows] or [None]
    shown = [
        title
        for title, names in PANELS.items()
        if any(each and names.keys() & each.keys() for each in of_models)
    ] or list(PANELS)[:1]
    figure, panels = pyplot.subplots(
        len(of_models),
        len(shown),
        figsize=(3.7 * max(len(shown), 1.5), 0.6 + 1.9 * len(of_models)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    for place, (line, norms) in enumerate(zip(panels, of_models, strict=True)):
        for axes, title in zip(line, shown, strict=True):
            label = item.rows[place].label if item.rows else ""
            axes.set_title(f"{label}: {title}", fontsize=9)
            if norms is None:
                figures.empty(axes)
            elif PANELS[title].keys() & norms.keys():
                _draw(axes, norms, PANELS[title])
            else:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "not regularised", transform=axes.transAxes, ha="center", color="#666666")
        line[0].set_ylabel("Groups")
    for axes in panels[-1]:
        axes.set_xlabel("Root mean square of a group's weights")
    return figure


def _draw(axes: Axes, norms: Mapping[str, np.ndarray], names: Mapping[str, str]) -> None:
    shown = [name for name in names if name in norms]
    values = pd.concat(
        [pd.DataFrame({"norm": np.maximum(norms[name], SMALLEST), "matrix": names[name]}) for name in shown]
    )
    colours = dict(zip(names.values(), figures.COLOURS, strict=False))
    seaborn.histplot(
        values,
        x="norm",
        hue="matrix",
        palette=colours,
        bins=BINS,
        log_scale=True,
        element="step",
        fill=False,
        ax=axes,
    )
    figures.number_powers(axes.xaxis)
    for name in shown:
        if (below := cut(norms, name)) is not None:
            axes.axvline(below, color=colours[names[name]], linestyle="--", linewidth=1)
    axes.set(xlabel="", ylabel="")
    seaborn.move_legend(axes, "best", title="", handlelength=1.5)
