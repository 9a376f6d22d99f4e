"""Check that the configuration can make a chain, before any job starts."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nmtprune.experiment import slices
from nmtprune.experiment.architecture import TRANSFORMERS
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.schedule import PeakRate
from nmtprune.foundation.errors import UserError

if TYPE_CHECKING:
    from nmtprune.experiment.config import Config

UNFINISHED = 0.3  # share of the peak; a linear decay that ends above it is reported


def check_chain(config: Config, chain: Chain) -> None:
    """Check everything that can be wrong with a chain; raises UserError."""
    config.teachers(chain.task)
    if chain.root.kind.imports:
        name = chain.root["name"]
        for key, path in config.imported(name).paths.items():
            if not os.path.exists(path):
                raise UserError(f"config: imports.{name}.{key}: there is no {path}")
    for ancestor in chain.ancestors():
        slices.of_step(config, ancestor)
        if reason := _misfit(config, ancestor):
            raise UserError(f"chain `{chain}`: {reason}")


def _misfit(config: Config, chain: Chain) -> str | None:
    """The reason why the recipe cannot have the last step of a chain, or None.

    The recipe's architecture is not checked for an import, which brings its own.
    """
    step, architecture = chain.last, config.recipe(chain.recipe).architecture
    if step.kind.of_transformers and not (chain.root.kind.imports or architecture.is_transformer):
        return (
            f"`{step}` needs a Transformer, and recipe `{chain.recipe}` has architecture "
            f"`{architecture.name}`; "
            f"valid: {', '.join(TRANSFORMERS)}"
        )
    return step.kind.misfit(config, chain)


def unfinished_decays(config: Config, chains: Iterable[Chain]) -> list[str]:
    """A sentence for each schedule whose linear decay is far from its end at the last update.

    Trainings of the chains that the next step continues are left out, since they are phases of a longer
    training.
    """
    last_schedules = {
        (chain.recipe, step.schedule): None
        for chain in chains
        for step, after in itertools.pairwise([*chain.steps, None])
        if step and step.kind.trains and not (after and after.kind.trains)
    }
    sentences = []
    for recipe, name in last_schedules:
        schedule = config.schedule(recipe, name)
        rates, updates = schedule.learning_rate, schedule.updates
        if (
            isinstance(rates, PeakRate)
            and rates.decay == "linear"
            and (left := rates.at(updates) / rates.peak) > UNFINISHED
        ):
            sentences.append(
                f"{config.library.place('recipes', recipe)}: schedules.{name}: the learning rate is still "
                f"{left:.0%} of its peak "
                f"at the last update, {updates:,}: it rises for {rates.warm_up:,} updates and falls "
                f"until {rates.updates:,}; "
                "say `warm_up` and `updates` of its `learning_rate` anew"
            )
    return sentences
