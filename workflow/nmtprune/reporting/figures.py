"""What all figures share: colours, markers and style that are legible on screen, in print and without telling all colours apart."""

from __future__ import annotations

import itertools
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd
from matplotlib import pyplot
from matplotlib.axis import Axis
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import Bbox

from nmtprune.foundation.files import atomic

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.hashsalt": "nmtprune",
    "text.parse_math": False,  # a label may have a dollar sign
}


# Where a label may stand, nearest first: its distance from the point in points (1/72 inch), by direction.
_DISTANCES = (5, 11, 18, 26, 35, 45)
_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
FAR_BEYOND = 20  # times the median
PLAIN_UP_TO = 1000  # numbers on an axis


def is_wide(values: pd.Series) -> bool:
    """Whether a few values are so far beyond the others that a linear axis would hide these."""
    known = values.abs().dropna()
    return len(known) > 0 and known.max() > max(FAR_BEYOND * known.median(), 1)


def fit(axes: pyplot.Axes, which: str, values: pd.Series) -> None:
    """Give the axis `x` or `y` the scale of its values: where they are wide, logarithmic beyond ±1 and linear between."""
    if is_wide(values):
        getattr(axes, f"set_{which}scale")("symlog", linthresh=1)
        getattr(axes, f"{which}axis").set_major_formatter(lambda x, _: f"{x:g}" if abs(x) < PLAIN_UP_TO else f"{x:.0e}".replace("e+0", "e"))


def number_powers(axis: Axis) -> None:
    """Number a logarithmic axis at powers of ten, as `0.001`: formulas are off, for the sake of labels with a dollar sign."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def label(axes: pyplot.Axes, points: pd.DataFrame) -> None:
    """Write each point's `label` at the nearest place that is free of points and of the labels before it, with a line to it when far.

    `points`: `x`, `y`, `y_sd`, `label`; an empty label is none. The figure's layout must be final.
    """
    figure = axes.figure
    inch = figure.dpi / 72
    spread = points["y_sd"].fillna(0)
    low, high = (axes.transData.transform(points[["x"]].assign(y=ends)) for ends in (points["y"] - spread, points["y"] + spread))
    taken = [Bbox([bottom - 4 * inch, top + 4 * inch]) for bottom, top in zip(low, high, strict=True)]
    inside = axes.get_window_extent()
    for row in points[points["label"] != ""].itertuples():
        for distance, (right, up) in itertools.product(_DISTANCES, _DIRECTIONS):
            note = axes.annotate(
                row.label.replace("_", " "),
                (row.x, row.y),
                (right * distance, up * distance),
                textcoords="offset points",
                ha={1: "left", 0: "center", -1: "right"}[right],
                va={1: "bottom", 0: "center", -1: "top"}[up],
                fontsize=7.5,
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 3} if distance > _DISTANCES[1] else None,
            )
            box = note.get_window_extent(figure.canvas.get_renderer())
            if inside.containsx(box.x0) and inside.containsx(box.x1) and not any(box.overlaps(other) for other in taken):
                break
            note.remove()
        else:
            continue  # no place is free: the CSV file has the name
        taken.append(box)


def empty(axes: pyplot.Axes) -> None:
    """Say in a panel that nothing was measured yet."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", color="#666666")


def missing(numbers: pd.DataFrame, shown: int = 3) -> list[str]:
    """What a figure lacks, from the column `missing` of its numbers, as one footnote; nothing where all is there."""
    absent = numbers.loc[numbers["missing"] != "", "missing"] if len(numbers) else []
    if not len(absent):
        return []
    reasons = list(dict.fromkeys(absent))
    more = f"; and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return [f"Missing in {len(absent)} of {len(numbers)} rows: {'; '.join(reasons[:shown])}{more}."]


def save(figure: pyplot.Figure, *files: Path) -> None:
    """Write a figure in the format of each file's extension, without dates, so that equal figures are equal files.

    The first file's layout is the others' too: finding one takes as long as drawing.
    """
    for file in files:
        kind = file.suffix.removeprefix(".")
        with atomic(file) as temporary, pyplot.rc_context(STYLE):
            figure.savefig(temporary, format=kind, dpi=180, metadata={"Date": None} if kind == "svg" else None)
        figure.set_layout_engine("none")
    pyplot.close(figure)
