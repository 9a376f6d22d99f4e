"""`rejuvenate-<zero|external>`: pruned weights are freed, and all are trained.

Wang et al. 2020, section 2.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.known import known
from nmtprune.steps import training
from nmtprune.store import checkpoints
from nmtprune.store.tied import replaced


def beginning(chain: Chain) -> training.Beginning:
    """The parent's model, with its pruned weights at zero or at their values in the chain's first model."""
    begun = training.beginning(chain)
    if chain.last["initialisation"] == "zero":
        return begun
    weights, baseline = known(begun.weights), checkpoints.state_of(chain.root_chain)
    masks = known(checkpoints.masks_of(known(chain.parent)))
    freed = {name: weights[name].where(mask, baseline[name]) for name, mask in masks.items()}
    return replace(begun, weights=replaced(weights, freed))


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Train all weights further; leaves what a training leaves."""
    return training.train(config, chain, state, beginning(chain))
