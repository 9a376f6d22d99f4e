"""`cut-<k>`: the least important components are removed, and the others are trained further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.shapes import SIDES
from nmtprune.fairseq_bridge.student import with_shape
from nmtprune.foundation.known import known
from nmtprune.pruning.components import cut
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.store.ablation_order import least_important


def beginning(chain: Chain) -> training.Beginning:
    """The parent's model without its least important components. Raises UserError if nothing is left."""
    parent = training.beginning(chain)
    options = checkpoints.options_by_name(parent.options)
    pre_norm = {side: bool(options.get(f"{side}_normalize_before")) for side in SIDES}
    weights = cut(known(parent.weights), least_important(chain), pre_norm)
    return training.Beginning(with_shape(options, shape_of(weights, head_size(options))), weights)


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train the smaller model; leaves what a training leaves."""
    return training.train(config, chain, state, beginning(chain))
