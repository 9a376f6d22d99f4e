"""Heads and feed-forward units left in every layer, one line for each model.

Behnke and Heafield 2021, figure 4.
"""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import frame
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

# the panels of both rows: (part and side, title)
ATTENTION = (
    ("self_encoder", "Encoder self-attention"),
    ("cross_decoder", "Decoder context attention"),
    ("self_decoder", "Decoder self-attention"),
)
FFN = (("ffn_encoder", "Encoder FFN"), ("ffn_decoder", "Decoder FFN"))
OF_THE_BASELINE = "#444444"


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = frame(item, measured)
    return Made(numbers, figures.missing(numbers), figure=layers(item, numbers))


def layers(item: Item, numbers: pd.DataFrame) -> Figure:
    """Heads (upper row) and units (lower row) left, by layer from the bottom up; means over seeds."""
    attention = [panel for panel in ATTENTION if _layers(numbers, panel[0])] or ATTENTION[:2]
    columns = max(len(attention), len(FFN))
    figure, panels = pyplot.subplots(
        2, columns, figsize=(3.3 * columns, 5.4), squeeze=False, layout="constrained"
    )
    for row, some, heading in zip(
        panels, (attention, FFN), ("Attention heads left", "FFN units left"), strict=True
    ):
        for axes, (name, title) in zip(row, some, strict=False):
            axes.set_title(title)
            _draw(axes, item, numbers, name)
        row[0].set_ylabel(heading)
        for axes in row[len(some) :]:
            axes.set_axis_off()
    handles, labels = panels[1][0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _layers(numbers: pd.DataFrame, name: str) -> list[str]:
    """The columns of a part and side, from the bottom layer up."""
    return [column for column in numbers if column.startswith(f"{name}_")]


def _draw(axes: Axes, item: Item, numbers: pd.DataFrame, name: str) -> None:
    columns = _layers(numbers, name)
    known = numbers.dropna(subset=columns, how="all") if columns else numbers.iloc[:0]
    if known.empty:
        figures.empty(axes)
        return
    depths = {column: int(column.rpartition("_")[2]) for column in columns}
    pruned = [place for place, row in enumerate(item.rows) if not row.baseline]
    looks = {
        known["label"][place]: figures.look(pruned.index(place))
        if place in pruned
        else figures.Look(OF_THE_BASELINE, ".", figures.DOTTED)
        for place in known.index
    }
    left = known.rename(columns={"label": "name", **depths}).melt(["row", "name"], depths.values(), "x", "y")
    figures.lines(axes, left, looks, units="row", estimator=None, markersize=4.5)
    axes.set(xlabel="Layer", ylabel="", xticks=[*depths.values()])
    axes.set_ylim(bottom=0)
