"""Small plots that pages hold as inline SVG: positions in pixels, which the templates draw.

Inline SVG takes the page's colours, light or dark; figures of papers are drawn by Matplotlib (`figures`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

INTERVAL_WIDTH = 150  # pixels of an interval plot
EDGE = 6  # pixels between its longest side and its border
MARGIN = 0.05  # of an axis' range, on either side


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval in pixels; to the right of the middle, the bound, a claim holds."""

    low: float
    value: float
    high: float
    width: int = INTERVAL_WIDTH

    @property
    def bound(self) -> float:
        return self.width / 2


def interval(low: float, value: float, high: float, bound: float) -> Interval:
    """The plot of an estimate; the end that is furthest from the bound reaches one side."""
    ends = np.array([low, value, high]) - bound
    furthest = max(float(np.abs(ends).max()), 1e-12)
    middle = INTERVAL_WIDTH / 2
    places = [round(float(end), 1) for end in middle + (middle - EDGE) * ends / furthest]
    return Interval(places[0], places[1], places[2])


@dataclass(frozen=True)
class Axis:
    """A linear axis from the value `low`, at the pixel `start`, to the value `high`, at the pixel `end`."""

    label: str
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The position of a value in pixels; a value outside is put on the nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round values with their positions."""
        values = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(self.low, self.high)
        inside = [value for value in values if self.low <= value <= self.high]
        return [(self(value), f"{value:,.6g}".replace("-", "−")) for value in inside]


def axis(
    label: str,
    values: Iterable[float],
    start: float,
    end: float,
    low: float | None = None,
    high: float | None = None,
) -> Axis:
    """An axis that holds all values, or ends at `low` and `high` where these are given."""
    known = [value for value in values if math.isfinite(value)] or [0.0]
    bottom, top = min(known) if low is None else low, max(known) if high is None else high
    space = MARGIN * (top - bottom) or 0.5
    return Axis(
        label, bottom - space if low is None else low, top + space if high is None else high, start, end
    )


@dataclass(frozen=True)
class Point:
    """A point of a scatter plot: where it leads, what it is, and its look."""

    x: float
    y: float
    title: str
    link: str
    look: int
    beyond: bool = False


@dataclass(frozen=True)
class Panel:
    """A plot with two axes: points, or lines as SVG paths by name."""

    x: Axis
    y: Axis
    points: Sequence[Point] = ()
    lines: Sequence[tuple[str, str]] = ()
    marked: tuple[float, float] | None = None
    width: int = 360
    height: int = 256


def path(x: Axis, y: Axis, xs: Iterable[float], ys: Iterable[float]) -> str:
    """The path of a line through points; a missing value interrupts it."""
    parts, pen = [], "M"
    for across, up in zip(xs, ys, strict=True):
        if math.isfinite(up):
            parts.append(f"{pen}{x(across)} {y(up)}")
            pen = "L"
        else:
            pen = "M"
    return "".join(parts)
