"""Common parts of all figures: colours, markers and style.

They are legible on screen, in print and with impaired colour vision. seaborn draws lines, bars, points,
histograms and heat maps, with whiskers and legends. Matplotlib draws what seaborn has no function for
(panels of different sizes, reference lines, arrows, labels that do not overlap, colour bars for several
panels) and pictures of whole matrices (the kinds `blocks` and `pictures`), in which seaborn would draw
every weight as a polygon.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import Bbox

from nmtprune.foundation.files import atomic
from nmtprune.measurements import absences

_PALETTE = seaborn.color_palette("colorblind").as_hex()
COLOURS = tuple(
    _PALETTE[place] for place in (0, 3, 2, 4, 1, 9)
)  # blue, vermilion, green, pink, orange, sky: the most distinct ones first
MARKERS = ("o", "s", "^", "D", "v", "P")
seaborn.set_theme(
    "paper",
    "ticks",
    COLOURS,
    color_codes=False,
    rc={
        "font.sans-serif": ["DejaVu Sans"],  # comes with Matplotlib: the same picture on every machine
        "legend.fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.markersize": 5.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "svg.hashsalt": "nmtprune",
        "text.parse_math": False,  # a label may have a dollar sign
    },
)
SPAN = (
    "pi",
    100,
)  # seaborn's interval from the smallest to the largest value: the ends of a whisker, see `ends`
DASHED, DOTTED = (4, 1.8), (1, 1.5)  # on and off, in widths of the line


class Look(NamedTuple):
    """How a line looks, so that it can be told from the others."""

    colour: str
    marker: str
    dashes: tuple[float, float] | str = ""  # none: solid


Looks = Mapping[str, Look]  # by name


def look(number: int, dashes: tuple[float, float] | str = "") -> Look:
    """The look of the line number `number` of a figure, counted from 0."""
    return Look(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], dashes)


# Where a label may stand, nearest first: its distance from the point in points (1/72 inch), by direction.
_DISTANCES = (5, 11, 18, 26, 35, 45)
_DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1))
FAR_BEYOND = 20  # times the median
PLAIN_UP_TO = 1000  # numbers on an axis


def told_by(column: str, looks: Looks) -> dict[str, Any]:
    """Arguments for seaborn that give each value of a column its own colour and marker."""
    palette, markers = ({name: each[part] for name, each in looks.items()} for part in range(2))
    return {"hue": column, "hue_order": [*looks], "palette": palette, "style": column, "markers": markers}


def ends(points: pd.DataFrame, value: str, half_width: str) -> pd.DataFrame:
    """The points with `value` at both ends of their whiskers, from which seaborn draws means and spans.

    A point without a whisker occurs once. `half_width`: the column with the extent of a whisker to
    either side; NaN, or a missing column, means no whisker.
    """
    half = points.get(half_width, pd.Series(0.0, points.index)).fillna(0)
    low, high = (points.assign(**{value: points[value] + side * half}) for side in (-1, 1))
    return pd.concat([low, high[half > 0]], ignore_index=True)  # seaborn asks for an index without duplicates


def lines(axes: Axes, points: pd.DataFrame, looks: Looks, **more: Any) -> None:
    """Draw a line for each `name` of the points over `x`: the mean of `y`, with whiskers between the `ends`.

    Each name has its look. The markers of dashed lines are hollow. No legend is drawn; that is left to
    the caller.
    """
    dashes: dict[str, Any] = {name: each.dashes for name, each in looks.items()}
    whiskers: dict[str, Any] = {"errorbar": SPAN, "err_style": "bars", "err_kws": {"capsize": 2.5}}
    seaborn.lineplot(
        points,
        x="x",
        y="y",
        **told_by("name", looks),
        dashes=dashes,
        markeredgecolor="auto",
        ax=axes,
        **whiskers,
        **more,
    )
    for line in filter(Line2D.is_dashed, axes.lines):
        line.set(markerfacecolor="white", markeredgewidth=1.3)
    if legend := axes.get_legend():
        legend.remove()


def is_wide(values: pd.Series) -> bool:
    """Whether a few values are so large that a linear axis would hide the differences between the others."""
    magnitudes = values.abs().dropna()
    return len(magnitudes) > 0 and magnitudes.max() > max(FAR_BEYOND * magnitudes.median(), 1)


def fit(axes: Axes, which: str, values: pd.Series) -> None:
    """Set the scale of the axis `x` or `y`: logarithmic for a wide range of values, otherwise linear.

    A logarithmic scale is linear between -1 and 1.
    """
    if is_wide(values):
        getattr(axes, f"set_{which}scale")("symlog", linthresh=1)
        getattr(axes, f"{which}axis").set_major_formatter(
            lambda x, _: f"{x:g}" if abs(x) < PLAIN_UP_TO else f"{x:.0e}".replace("e+0", "e")
        )


def number_powers(axis: Axis) -> None:
    """Number a logarithmic axis at powers of ten in plain digits, such as `0.001`.

    Formulas are off, since labels may contain dollar signs.
    """
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def label(axes: Axes, points: pd.DataFrame) -> None:
    """Write each point's `label` at the nearest place without points and earlier labels.

    A distant label gets a line to its point. `points`: `x`, `y`, `y_sd`, `label` (may be empty). The
    figure's layout must be final.
    """
    figure = axes.figure
    inch = figure.dpi / 72
    spread = points["y_sd"].fillna(0)
    low, high = (
        axes.transData.transform(points[["x"]].assign(y=ends))
        for ends in (points["y"] - spread, points["y"] + spread)
    )
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
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkB": 3}
                if distance > _DISTANCES[1]
                else None,
            )
            box = note.get_window_extent()
            if (
                inside.containsx(box.x0)
                and inside.containsx(box.x1)
                and not any(box.overlaps(other) for other in taken)
            ):
                break
            note.remove()
        else:
            continue  # no place is free: the CSV file has the name
        taken.append(box)


def empty(axes: Axes) -> None:
    """Write in a panel that nothing has been measured yet."""
    axes.set(xticks=[], yticks=[])
    axes.text(0.5, 0.5, "no scores yet", transform=axes.transAxes, ha="center", color="#666666")


def missing(numbers: pd.DataFrame, shown: int = 3) -> list[str]:
    """One footnote that says what a figure lacks, from the column `missing` of its numbers.

    Lines of one row, or of one seed of it, count once. Empty if nothing is missing.
    """
    if not len(numbers):
        return []
    lines = numbers["missing"]
    if "row" in numbers:
        keys = [name for name in ("row", "seed") if name in numbers]
        lines = numbers.groupby(keys)["missing"].agg(_first)
    absent = lines[lines != ""]
    if not len(absent):
        return []
    reasons = absences.merged(absent)
    more = f"; and {len(reasons) - shown} more" if len(reasons) > shown else ""
    return [f"Missing in {len(absent)} of {len(lines)} rows: {'; '.join(reasons[:shown])}{more}."]


def _first(reasons: pd.Series) -> str:
    return next(filter(None, reasons), "")


def save(figure: Figure, *files: Path) -> None:
    """Write a figure in the format of each file's extension; equal figures give equal files.

    Files have no dates. The layout is computed for the first file and reused for the others, since this
    takes as long as drawing.
    """
    for file in files:
        kind = file.suffix.removeprefix(".")
        with atomic(file) as temporary:
            figure.savefig(
                temporary, format=kind, dpi=180, metadata={"Date": None} if kind == "svg" else None
            )
        figure.set_layout_engine("none")
    pyplot.close(figure)
