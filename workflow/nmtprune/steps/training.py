"""Training as a step: `train`, and the steps that train their parent's model as it is.

Steps that begin with other weights, or train under a penalty, are modules of their own and call `train`.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.footing import updates_before
from nmtprune.fairseq_bridge import arguments, session
from nmtprune.foundation.files import write_table
from nmtprune.scoring.evaluation import development_bleu
from nmtprune.steps.lengths import check_lengths
from nmtprune.store import checkpoints
from nmtprune.store.model import positions
from nmtprune.store.state import outputs_of
from nmtprune.training.events import Events
from nmtprune.training.loop import Selection, Training
from nmtprune.training.masks import Masked
from nmtprune.training.rounded import Rounded
from nmtprune.training.treatment import Treatment


def order_seed(chain: Chain) -> int:
    """The seed of the order of batches and of dropout: the same for all trainings of a chain's seed.

    Each training takes up the order at `updates_before`. So models with equally many updates have seen the
    same batches, whatever steps the updates belong to.
    """
    return zlib.crc32(f"{chain.seed}/0".encode()) & 0x3FFFFFFF


def initialisation_seed(chain: Chain) -> int:
    """The seed of a model's first weights; `restart` draws other weights than its ancestor."""
    draw = sum(step.kind.redraws for step in chain.steps)
    return zlib.crc32(f"{chain.seed}/weights/{draw}".encode()) & 0x3FFFFFFF


@dataclass(frozen=True)
class Beginning:
    """What a training begins with.

    `options`: fairseq's options of the model; None if the recipe gives them. `weights`: None if they are
    newly drawn.
    """

    options: Any = None
    weights: Mapping[str, Tensor] | None = None


def beginning(chain: Chain) -> Beginning:
    """The parent's model, its pruned weights at zero; nothing for the root of a chain."""
    if not chain.parent:
        return Beginning()
    checkpoint = checkpoints.read(chain.last.kind.begins_with(chain))
    return Beginning(
        checkpoint["cfg"]["model"],
        checkpoints.masked(checkpoint["model"], checkpoints.masks_of(chain.parent)),
    )


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train the parent's model further, or a new one."""
    return train(config, chain, state, beginning(chain))


def train(
    config: Config, chain: Chain, state: Path, begun: Beginning, *treatments: Treatment
) -> dict[str, Any]:
    """Train by the recipe's schedule, under the chain's mask and rounding and under further `treatments`.

    Leaves model.pt (the selected checkpoint), last.pt and history.csv; `train` also leaves its first weights.
    """
    schedule = config.schedule(chain.recipe, chain.last.schedule)
    task, data = config.task(chain.task), config.data_folder(chain)
    architecture = config.recipe(chain.recipe).architecture
    in_data = arguments.of_data(paths.binarised(data), *task.languages)
    cfg = session.configuration(
        arguments.of_architecture(architecture),
        schedule,
        [*in_data, "--save-dir", str(state)],
        order_seed(chain),
        config.settings["device"],
        model=begun.options,
    )
    of_fairseq = architecture.name == "lstm_luong_wmt_en_de"  # our LSTM takes `init_scale` as an option
    trainer = session.start(cfg, initialisation_seed(chain), architecture.init_scale if of_fairseq else None)
    _check_lengths(config, chain, trainer)
    if begun.weights is not None:
        session.load_weights(trainer, begun.weights)
    outputs = outputs_of(state)
    if chain.parent is None and trainer.is_data_parallel_master:
        checkpoints.save(
            session.checkpoint(trainer.configuration, session.weights(trainer), 0), outputs / paths.INITIAL
        )
    shown = config.settings["tensorboard"] and trainer.is_data_parallel_master
    trainer.updates_before = updates_before(config, chain)
    of_weights = development_bleu(config, chain, cfg.model) if schedule.select == "bleu" else None
    progress = Training(
        trainer,
        schedule,
        state,
        [*_held(chain), *treatments],
        Selection(chain.last.kind.competes, of_weights),
        events=Events(paths.events(chain)) if shown else None,
    ).run()
    if trainer.is_data_parallel_master:
        write_table(outputs / paths.HISTORY, progress.history)
    return {
        "updates": progress.update,
        "selected_update": progress.selected_update,
        "stopped_early": progress.stopped_early,
        "precision": progress.precision,
        "wall_seconds": round(progress.seconds, 3),
    }


def _held(chain: Chain) -> list[Treatment]:
    """The mask and the rounding under which a chain's model is trained."""
    masks, engine = checkpoints.masks_of(chain), chain.quantised_for
    return [*([Masked(masks)] if masks else []), *([Rounded(engine)] if engine else [])]


def _check_lengths(config: Config, chain: Chain, trainer: session.Trainer) -> None:
    """Raises UserError, before the first update, if lines are too long for the model or its batches."""
    schedule = config.schedule(chain.recipe, chain.last.schedule)
    of_scoring = positions(checkpoints.options_by_name(trainer.configuration.model))
    of_model = tuple(map(min, trainer.get_model().max_positions(), of_scoring))
    check_lengths(config, chain, of_model, session.longest_in_training(trainer, schedule))
