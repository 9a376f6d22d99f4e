"""What all figures share: colours, markers and style that are legible on screen, in print and without telling all colours apart."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from nmtprune.files import atomic

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
}


def save(figure: pyplot.Figure, *files: Path) -> None:
    """Write a figure in the format of each file's extension, without dates, so that equal figures are equal files."""
    for file in files:
        kind = file.suffix.removeprefix(".")
        with atomic(file) as temporary, pyplot.rc_context(STYLE):
            figure.savefig(temporary, format=kind, dpi=180, metadata={"Date": None} if kind == "svg" else None)
    pyplot.close(figure)
