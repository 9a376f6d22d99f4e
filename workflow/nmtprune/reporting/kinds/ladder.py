"""What can go without loss against the width of models, directly and with retraining."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.experiment.papers import Item
from nmtprune.measurements.ladder import ladder
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.spare import MARGIN
from nmtprune.reporting import figures
from nmtprune.reporting.figures import COLOURS, MARKERS, STYLE
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    numbers = ladder(item, measured)
    return Made(numbers, figures.missing(numbers), figure=_figure(numbers))


def _figure(numbers: pd.DataFrame) -> pyplot.Figure:
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
        there = numbers.dropna(subset="spare")
        for place, (label, line) in enumerate(there.groupby("label", sort=False)):
            line = line.sort_values("width")
            style = {"color": COLOURS[place], "marker": MARKERS[place], "linestyle": ("--", "-")[place % 2], "capsize": 2.5, "label": label}
            axes.errorbar(line["width"], line["spare"], yerr=line["spare_sd"], **style)
            for row in line[line["bound"]].itertuples():
                axes.annotate(
                    "", (row.width, row.spare + 7), (row.width, row.spare), arrowprops={"arrowstyle": "->", "color": COLOURS[place]}
                )
        axes.set_xscale("log", base=2)
        axes.set(xlabel="Model dimension d (parameters)", ylabel=f"Weights that can go for {MARGIN:g} BLEU (%)")
        models = numbers.drop_duplicates("width").sort_values("width")
        axes.set_xticks(models["width"], [_tick(row.width, row.parameters) for row in models.itertuples()], minor=False)
        axes.set_ylim(0, 100)
        if len(there):
            axes.legend(loc="best", fontsize=8, handlelength=3)
        else:
            figures.empty(axes)
    return figure


def _tick(width: int, parameters: float | None) -> str:
    return f"{width}" if parameters is None or np.isnan(parameters) else f"{width}\n({parameters / 1e6:.2g}M)"
