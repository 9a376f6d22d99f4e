"""The steps that select weights: they store a mask over the parent's weights, not a copy of the model.

`pruning.selection` computes the masks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.known import known
from nmtprune.pruning.selection import masks_of_steps
from nmtprune.store import checkpoints
from nmtprune.store.state import outputs_of


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leave mask.pt."""
    embeddings = config.recipe(chain.recipe).prunable.embeddings
    parent = known(chain.parent)
    made = masks_of_steps(checkpoints.state_of(parent), embeddings, checkpoints.masks_of(parent))(chain.last)
    checkpoints.save_masks(made, outputs_of(state) / paths.MASK)
    total = sum(mask.numel() for mask in made.values())
    return {
        "prunable": total,
        "pruned": total - sum(int(torch.count_nonzero(mask)) for mask in made.values()),
    }
