"""What is left of every layer, attention above feed-forward, a line a model (Behnke and Heafield 2021, figure 4)."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures, tables
from nmtprune.reporting.figures import COLOURS, MARKERS, STYLE
from nmtprune.reporting.rendition import Made

# panels by rows: (part and side, title)
ATTENTION = (
    ("self_encoder", "Encoder self-attention"),
    ("cross_decoder", "Decoder context attention"),
    ("self_decoder", "Decoder self-attention"),
)
FFN = (("ffn_encoder", "Encoder FFN"), ("ffn_decoder", "Decoder FFN"))
OF_THE_BASELINE = "#444444"


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    return Made(numbers, figures.missing(numbers), figure=layers(item, numbers))


def layers(item: Item, numbers: pd.DataFrame) -> pyplot.Figure:
    """Heads and units left by layer from the bottom up; means over seeds."""
    with pyplot.rc_context(STYLE):
        attention = [panel for panel in ATTENTION if _layers(numbers, panel[0])] or ATTENTION[:2]
        columns = max(len(attention), len(FFN))
        figure, panels = pyplot.subplots(2, columns, figsize=(3.3 * columns, 5.4), squeeze=False, layout="constrained")
        for row, some, heading in zip(panels, (attention, FFN), ("Attention heads left", "FFN units left"), strict=True):
            for axes, (name, title) in zip(row, some, strict=False):
                axes.set_title(title, fontsize=9)
                _draw(axes, item, numbers, name)
            row[0].set_ylabel(heading)
            for axes in row[len(some) :]:
                axes.set_axis_off()
        handles, labels = panels[1][0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8.5)
    return figure


def _layers(numbers: pd.DataFrame, name: str) -> list[str]:
    """The columns of a part and side, from the bottom layer up."""
    return [column for column in numbers if column.startswith(f"{name}_")]


def _draw(axes: pyplot.Axes, item: Item, numbers: pd.DataFrame, name: str) -> None:
    columns = _layers(numbers, name)
    known = numbers.dropna(subset=columns, how="all") if columns else numbers.iloc[:0]
    if known.empty:
        figures.empty(axes)
        return
    depths = [int(column.rpartition("_")[2]) for column in columns]
    pruned = [place for place, row in enumerate(item.rows) if not row.baseline]
    for place, record in known.iterrows():
        number = pruned.index(place) if place in pruned else -1
        colour = COLOURS[number % len(COLOURS)] if number >= 0 else OF_THE_BASELINE
        marker = MARKERS[number % len(MARKERS)] if number >= 0 else None
        dash = "-" if number >= 0 else (0, (1, 1.5))
        axes.plot(depths, record[columns].astype(float), color=colour, marker=marker, linestyle=dash, markersize=4.5, label=record["label"])
    axes.set(xlabel="Layer", xticks=depths)
    axes.set_ylim(bottom=0)
