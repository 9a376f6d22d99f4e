"""Histories of trainings: losses on the way to a model, and FFN widths under the group lasso."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import columns_of, of_models
from nmtprune.measurements.measurements import Measured

LOSSES = ("train_nll", "dev_nll")  # negative log-likelihood in nats per target token
_WIDTH = re.compile(r"(encoder|decoder)\.(\d+)\.ffn")
_MODEL = ("task", "recipe", "seed", "chain")


def losses(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each validation in the trainings of each model.

    `chain` is the training's; `update` counts the updates of all trainings so far, `update_of_step` those of
    the training. A missing model has one row that says why.
    """

    def read(chain: Chain) -> list[dict[str, Any]] | None:
        if measured.manifest(chain) is None:
            return None
        return [
            {
                **columns_of(training),
                "update": before + validation["update"],
                "update_of_step": validation["update"],
                "epoch_of_step": validation["epoch"],
                **{name: validation[name] for name in ("learning_rate", *LOSSES)},
            }
            for training, before, validation in _validations(chain, measured)
        ]

    columns = ("row", "group", "label", *_MODEL, "update", "update_of_step", "epoch_of_step", "learning_rate")
    return of_models(item, measured, "history", read, (*columns, *LOSSES, "missing"))


def _validations(chain: Chain, measured: Measured) -> Iterator[tuple[Chain, int, dict[str, Any]]]:
    """The validations on the way to a model.

    A training that another one follows has only the validations up to the checkpoint from which the next one
    continues. Yields the training, the number of updates of all trainings before it, and the validation.
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
            yield training, done, validation
        done += reached


def widths(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each validation of each model's last training, which is under the group lasso.

    A column `ffn_<side>_<layer>` has the units left in a layer (layers from 1; tied decoder layers count as
    one), `lambda` the strength of the penalty, `ffn_sparsity` the units removed in percent. A missing model
    has one row that says why.
    """

    def read(chain: Chain) -> list[dict[str, Any]] | None:
        history = measured.history(chain)
        if measured.manifest(chain) is None or history is None:
            return None
        names = {name: name for name in ("update", "lambda", "ffn_sparsity") if name in history}
        names |= _layers(history, measured.config.recipe(chain.recipe).architecture.tied_decoder_layers)
        return history[list(names)].rename(columns=names).to_dict("records")

    columns = ("row", "label", *_MODEL, "update", "lambda", "ffn_sparsity", "missing")
    return of_models(item, measured, "history", read, columns)


def _layers(history: pd.DataFrame, tied: bool) -> dict[str, str]:
    """Columns of a history that hold FFN widths, with their names in frames."""
    of_layers = {name: match for name in history if (match := _WIDTH.fullmatch(name))}
    return {
        name: f"ffn_{match[1]}_{int(match[2]) + 1}"
        for name, match in of_layers.items()
        if not (tied and match[1] == "decoder" and match[2] != "0")
    }


def removed_by_half(history: pd.DataFrame) -> float | None:
    """The share of a training's removed FFN units that half of its updates remove, in percent.

    None if none is removed, or if the training was not under the group lasso.
    """
    end = float(history["ffn_sparsity"].iloc[-1]) if "ffn_sparsity" in history else 0.0
    if end <= 0:
        return None
    half = history["update"].max() / 2
    return 100 * float(np.interp(half, history["update"], history["ffn_sparsity"])) / end
