"""`lasso-<groups>-<where>-<lambda>`: training under a group lasso (Behnke and Heafield 2021, section 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.slicing import head_size
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.training.regularised import Regularised


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train the parent's model further under the penalty; leaves what a training leaves.

    Raises UserError for a model that is not a Transformer.
    """
    begun, step = training.beginning(chain), chain.last
    options = checkpoints.options_by_name(begun.options)
    if not checkpoints.is_transformer(options):
        raise UserError(
            f"chain `{chain}`: only a Transformer has the groups of `{step}`, and this model is not one; "
            "valid: continue"
        )
    penalty = Regularised(
        step["groups"], step["where"], step["lambda"], config.recipe(chain.recipe).lasso, head_size(options)
    )
    return training.train(config, chain, state, begun, penalty)
