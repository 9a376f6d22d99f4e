"""`prune-<scheme>-<percent>`: a mask over the parent's weights. No copy of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from nmtprune import models, paths
from nmtprune.chain import Chain, Step
from nmtprune.config import Config
from nmtprune.pruning.classes import prunable
from nmtprune.pruning.schemes import masks
from nmtprune.steps.store import outputs_of


def masks_for(step: Step, weights: dict[str, Tensor], embeddings: str) -> dict[str, Tensor]:
    """The masks that a prune step puts on these weights."""
    return masks(prunable(weights, embeddings), step["scheme"], step["percent"])


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leaves mask.pt."""
    made = masks_for(chain.last, models.state_of(chain.parent), config.recipe(chain.recipe)["prunable"]["embeddings"])
    models.save_masks(made, outputs_of(state) / paths.MASK)
    total = sum(mask.numel() for mask in made.values())
    return {"prunable": total, "pruned": total - sum(int(mask.sum()) for mask in made.values())}
