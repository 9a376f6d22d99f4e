"""The steps that train. They differ in the weights they begin with and in what is done to the training (its treatments)."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import without
from nmtprune.experiment.config import Config
from nmtprune.experiment.footing import updates_before
from nmtprune.fairseq_bridge import arguments, session
from nmtprune.fairseq_bridge.student import with_shape
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_table
from nmtprune.pruning.components import rewound
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.scoring.evaluation import development_bleu
from nmtprune.steps.lengths import check_lengths
from nmtprune.store import checkpoints
from nmtprune.store.ablation_order import least_important
from nmtprune.store.model import positions
from nmtprune.store.state import outputs_of
from nmtprune.training.loop import Training
from nmtprune.training.masks import Masked
from nmtprune.training.regularised import Regularised
from nmtprune.training.rounded import Rounded
from nmtprune.training.treatment import Treatment


def order_seed(chain: Chain) -> int:
    """Seeds the order of batches and dropout, one order for all trainings of a chain's seed; each takes it up at `updates_before`.

    Models that have had as many updates have thus seen the same batches, whatever steps these belong to.
    """
    return zlib.crc32(f"{chain.seed}/0".encode()) & 0x3FFFFFFF


def initialisation_seed(chain: Chain) -> int:
    """Seeds a model's first weights; `restart` draws others than its ancestor had."""
    draw = sum(step.family.name == "restart" for step in chain.steps)
    return zlib.crc32(f"{chain.seed}/weights/{draw}".encode()) & 0x3FFFFFFF


def first_weights(chain: Chain, masks: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    """The weights a training begins with; None where they are newly drawn."""
    step = chain.last
    root = next(ancestor for ancestor in chain.ancestors() if ancestor.parent is None)
    if step.family.name == "restart" and step.get("weights") == "ticket":
        return checkpoints.read(paths.model(root) / paths.INITIAL)["model"]
    if step.family.draws:
        return None
    weights = checkpoints.masked(checkpoints.read(paths.before(chain))["model"], masks)
    if step.family.name == "rewind":
        return rewound(weights, checkpoints.read(paths.model(root) / paths.INITIAL)["model"], least_important(chain))
    if step.get("initialisation") == "external":
        # Wang et al. 2020, section 2: freed weights begin at the baseline's values
        baseline = checkpoints.state_of(root)
        freed = {weights[name].data_ptr(): weights[name].where(mask, baseline[name]) for name, mask in masks.items()}
        weights = {name: freed.get(tensor.data_ptr(), tensor) if tensor.numel() else tensor for name, tensor in weights.items()}
    return weights


def architecture_before(chain: Chain) -> Any:
    """fairseq's options of the model that a training begins with, as its parent's checkpoint has them; None where the recipe says.

    Raises UserError where `drop` leaves nothing.
    """
    if not chain.parent:
        return None
    checkpoint = checkpoints.read(paths.before(chain))
    options = checkpoint["cfg"]["model"]
    if chain.last.family.name != "drop":
        return options
    named = checkpoints.options_by_name(options)
    return with_shape(named, without(shape_of(checkpoint["model"], head_size(named)), least_important(chain)))


def treatments(config: Config, chain: Chain, options: Any) -> list[Treatment]:
    """What is done to a chain's last training beside its updates. `options`: fairseq's of the model.

    Raises UserError for a lasso of a model that is no Transformer.
    """
    step, held = chain.last, checkpoints.masks_of(chain)
    done: list[Treatment] = [Masked(held)] if held else []
    if step.family.name == "lasso":
        named = checkpoints.options_by_name(options)
        if not checkpoints.is_transformer(named):
            raise UserError(f"chain `{chain}`: only a Transformer has the groups of `{step}`, and its root is none; valid: continue")
        done.append(Regularised(step["groups"], step["where"], step["lambda"], config.lasso(chain.recipe), head_size(named)))
    if engine := chain.quantised_for:
        done.append(Rounded(engine))
    return done


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train by the recipe's schedule. Leaves model.pt (selected), last.pt, history.csv; `train` also its first weights."""
    schedule = config.schedule(chain.recipe, chain.last.schedule)
    task, data = config.task(chain.task), config.data_folder(chain)
    masks = checkpoints.masks_of(chain.parent) if chain.parent else None
    weights = first_weights(chain, masks)
    architecture = config.recipe(chain.recipe)["architecture"]
    cfg = session.configuration(
        arguments.of_architecture(architecture),
        schedule,
        arguments.of_data(paths.binarised(data), task["source"], task["target"]),
        order_seed(chain),
        config.settings["device"],
        folder=state,
        model=architecture_before(chain),
    )
    of_fairseq = architecture["name"] == "lstm_luong_wmt_en_de"  # ours has the scale as an option of its own
    trainer = session.start(cfg, initialisation_seed(chain), architecture.get("init_scale") if of_fairseq else None)
    _check_lengths(config, chain, trainer)
    if weights is not None:
        session.load_weights(trainer, weights)
    outputs = outputs_of(state)
    if chain.parent is None and trainer.is_data_parallel_master:
        checkpoints.save(session.checkpoint(trainer.configuration, session.weights(trainer), 0), outputs / paths.INITIAL)
    progress = Training(
        trainer,
        schedule,
        state,
        treatments(config, chain, trainer.configuration.model),
        parent_competes=chain.last.family.competes,
        development_bleu=development_bleu(config, chain, cfg.model) if schedule["select"] == "bleu" else None,
        updates_before=updates_before(config, chain),
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


def _check_lengths(config: Config, chain: Chain, trainer: session.Trainer) -> None:
    """Raises UserError where the data's lengths do not fit the model or the batches, before the first update."""
    schedule = config.schedule(chain.recipe, chain.last.schedule)
    of_scoring = positions(checkpoints.options_by_name(trainer.configuration.model))
    of_model = tuple(map(min, trainer.get_model().max_positions(), of_scoring))
    check_lengths(config, chain, of_model, session.longest_in_training(trainer, schedule))
