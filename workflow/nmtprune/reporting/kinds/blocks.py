"""Pictures of the first feed-forward matrices of decoder and encoder, with the blocks that a lasso emptied.

Behnke and Heafield 2021, figure 1.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from nmtprune.experiment import paths
from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.weights import dead_blocks
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

MATRICES = {
    "decoder.layers.0.fc1.weight": "Decoder, layer 1",
    "encoder.layers.0.fc1.weight": "Encoder, layer 1",
}  # from the top panel down
FAINTEST = 1e-3  # weights below this share of the largest magnitude are white


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = dead_blocks(item, measured)
    absent = figures.missing(numbers)
    sentences = (
        ["Darker: larger; white: less than a thousandth of the matrix's largest weight."] if item.rows else []
    )
    return Made(numbers, absent, figure=_figure(item, measured, numbers), sentences=sentences)


def _figure(item: Item, measured: Measured, numbers: pd.DataFrame) -> Figure:
    """Decoder above encoder for each model (its first seed); inputs downwards, hidden units to the right."""
    count = max(len(item.rows), 1)
    figure, panels = pyplot.subplots(
        2 * count, 1, figsize=(7.0, 3.5 * count + 0.4), squeeze=False, layout="constrained"
    )
    for place, axes in enumerate(panels.flat):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        if not item.rows:
            figures.empty(axes)
            continue
        row, (name, title) = item.rows[place // 2], list(MATRICES.items())[place % 2]
        matrix = _matrix(row, name, measured)
        if matrix is None:
            figures.empty(axes)
            continue
        facts = numbers[(numbers["row"] == place // 2 + 1) & (numbers["matrix"] == name)].iloc[0]
        said = (
            f"{title}, {row.label}: {100 * facts['dead_blocks'] / facts['blocks']:.0f} % of "
            f"{facts['blocks']:.0f} blocks"
        )
        axes.set_title(f"{said}, {facts['dead_units']:.0f} of {facts['units']:.0f} units dead", fontsize=9)
        most = float(matrix.max()) or 1.0
        image = axes.imshow(
            np.clip(matrix.T, FAINTEST * most, None),
            cmap="Greys",
            norm=LogNorm(FAINTEST * most, most),
            aspect="auto",
            interpolation="none",
        )
        axes.set(xlabel=f"{matrix.shape[0]} hidden units", ylabel=f"{matrix.shape[1]} inputs")
        bar = figure.colorbar(image, ax=axes, label="|weight|", pad=0.01, fraction=0.04)
        figures.number_powers(bar.ax.yaxis)
    return figure


def _matrix(row: Row, name: str, measured: Measured) -> np.ndarray | None:
    """The magnitudes of one matrix of a row's first model [units, inputs]."""
    file = measured.where(paths.arrays(paths.analysis(row.first, "matrices")))
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return arrays[name].astype(np.float32)
