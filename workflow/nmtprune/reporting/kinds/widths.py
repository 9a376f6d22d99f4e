"""The widths of layers during a training under the group lasso, from the training's history.

Behnke and Heafield 2021, figure 2.
"""

from __future__ import annotations

import re

import pandas as pd
import seaborn
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment import shapes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

_WIDTH = re.compile(r"(encoder|decoder)\.(\d+)\.ffn")
COLUMNS = ("row", "label", "task", "recipe", "seed", "chain", "update", "lambda", "ffn_sparsity", "missing")


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    numbers = pd.concat([pd.DataFrame(columns=COLUMNS), *_frames(item, measured)], ignore_index=True)
    return Made(numbers, figures.missing(numbers[numbers["missing"] != ""]), figure=lines(item, numbers))


def _frames(item: Item, measured: Measured) -> list[pd.DataFrame]:
    """One frame for each model: a row for each validation, a column `ffn_<side>_<layer>` for each layer.

    The frame of a missing model has one row that says why.
    """
    frames = []
    for number, row in enumerate(item.rows, 1):
        for chain in row.chains:
            about = {"row": number, "label": row.label, "seed": chain.seed, **columns_of(chain)}
            reason, history = measured.missing(chain, ["history"]), measured.history(chain)
            if reason or history is None:
                frames.append(
                    pd.DataFrame([{**about, "missing": reason or measured.reason(chain, "history")}])
                )
                continue
            measures = [name for name in ("update", "lambda", "ffn_sparsity") if name in history]
            frame = pd.concat([history[measures], _widths(history, chain, measured)], axis=1)
            frames.append(frame.assign(**about, missing=""))
    return frames


def _widths(history: pd.DataFrame, chain: Chain, measured: Measured) -> pd.DataFrame:
    """The columns of a history that hold FFN widths, under their names in reports.

    Tied decoder layers count as one.
    """
    tied = measured.config.recipe(chain.recipe).architecture.tied_decoder_layers
    of_layers = {name: match for name in history if (match := _WIDTH.fullmatch(name))}
    kept = {
        name: match
        for name, match in of_layers.items()
        if not (tied and match[1] == "decoder" and match[2] != "0")
    }
    return history[list(kept)].rename(
        columns={name: f"ffn_{match[1]}_{int(match[2]) + 1}" for name, match in kept.items()}
    )


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
