"""Losses through the trainings of a chain, as one curve over all updates with marks between trainings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item, Row
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import figures
from nmtprune.reporting.rendition import Made

CURVES = {"train_nll": "training", "dev_nll": "development"}
COLUMNS = (
    "row",
    "group",
    "label",
    "task",
    "recipe",
    "seed",
    "chain",
    "update",
    "update_of_step",
    "epoch_of_step",
    "learning_rate",
)


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its figure."""
    records = [
        record for number, row in enumerate(item.rows, 1) for record in _records(number, row, measured)
    ]
    numbers = pd.DataFrame(records, columns=[*COLUMNS, *CURVES, "missing"])
    return Made(numbers, figures.missing(numbers[numbers["missing"] != ""]), figure=losses(numbers))


def _records(number: int, row: Row, measured: Measured) -> Iterator[dict[str, Any]]:
    """One record for each validation in the trainings of each of a row's models.

    A missing model has one record that says why.
    """
    for chain in row.chains:
        about = {"row": number, "group": row.group, "label": row.label, "seed": chain.seed}
        if reason := measured.missing(chain, ["history"]):
            yield {**about, **columns_of(chain), "missing": reason}
            continue
        for training, update, validation in _way(chain, measured):
            yield {
                **about,
                **columns_of(training),
                "update": update,
                "update_of_step": validation["update"],
                "epoch_of_step": validation["epoch"],
                "learning_rate": validation["learning_rate"],
                **{curve: validation[curve] for curve in CURVES},
                "missing": "",
            }


def _way(chain: Chain, measured: Measured) -> Iterator[tuple[Chain, int, dict[str, Any]]]:
    """The validations on the way to a model.

    Of each training but the last, only validations up to the checkpoint that the next training continues
    from. Yields the training, the number of updates of all trainings so far, and the validation.
    """
    done = 0
    ancestors = list(chain.ancestors())[::-1]
    last = next((each for each in chain.ancestors() if each.last.kind.trains), None)
    for training, after in itertools.zip_longest(ancestors, ancestors[1:]):
        history, manifest = measured.history(training), measured.manifest(training)
        if not training.last.kind.trains or history is None or manifest is None:
            continue
        reached = manifest["selected_update"]
        snapshot = measured.manifest(after) if after and after.last.kind.snapshot else None
        if snapshot:
            reached = snapshot["updates"]
        elif training == last:
            reached = history["update"].max()
        for validation in history[history["update"] <= reached].to_dict("records"):
            yield training, done + validation["update"], validation
        done += reached


def losses(numbers: pd.DataFrame) -> Figure:
    """Training and development loss of each row against updates, with a vertical line between trainings."""
    points = numbers[numbers["missing"] == ""]
    several = points["row"].nunique() > 1
    figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
    axes.set(xlabel="Updates", ylabel="Negative log-likelihood per target token")
    if points.empty:
        figures.empty(axes)
        return figure
    names = {
        (label, curve): f"{label}, {curve}" if several else curve.capitalize()
        for label in points["label"].unique()
        for curve in CURVES.values()
    }
    looks = {
        name: figures.look(place, figures.DASHED if place % 2 else "")
        for place, name in enumerate(names.values())
    }
    curves = points.rename(columns={"update": "x", **CURVES}).melt(
        ["row", "label", "seed", "x"], CURVES.values(), "curve", "y"
    )
    curves["name"] = [names[pair] for pair in zip(curves["label"], curves["curve"], strict=True)]
    models = curves["row"].astype(str) + "/" + curves["seed"].astype(str)
    figures.lines(axes, curves, looks, units=models, estimator=None, linewidth=1.4, markersize=3)
    for update, between in _breaks(points):
        axes.axvline(update, color="#666666", linewidth=0.9, linestyle=(0, figures.DOTTED), zorder=1)
        axes.annotate(
            between,
            (update, 1),
            (-3, -2),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7.5,
        )
    axes.legend(loc="best", handlelength=3)
    return figure


def _breaks(points: pd.DataFrame) -> list[tuple[int, str]]:
    """The updates at which a training follows another, with the steps between them (`prune-global-80`).

    If there are no steps between them, with the name of the second training.
    """
    breaks = {}
    for _, line in points.groupby(["row", "seed"], sort=False):
        begun = line.groupby("chain", sort=False)[["update", "update_of_step"]].first()
        chains = list(begun.index)
        for before, chain in itertools.pairwise(chains):
            between = chain.removeprefix(f"{before}/").split("/")
            start = int(begun.loc[chain, "update"] - begun.loc[chain, "update_of_step"])
            breaks[start, ", ".join(between[:-1] or between)] = None
    return sorted(breaks)
