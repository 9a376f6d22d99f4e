"""`drop-<k>`: a model without the least important components, trained from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import without
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge.student import with_shape
from nmtprune.foundation.known import known
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.store.ablation_order import least_important


def beginning(chain: Chain) -> training.Beginning:
    """The parent's shape without its least important components. Raises UserError if nothing is left."""
    parent = training.beginning(chain)
    options = checkpoints.options_by_name(parent.options)
    shape = without(shape_of(known(parent.weights), head_size(options)), least_important(chain))
    return training.Beginning(with_shape(options, shape))


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train from scratch; leaves what a training leaves."""
    return training.train(config, chain, state, beginning(chain))
