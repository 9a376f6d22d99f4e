"""`int8-<engine>`: the weights as the engine keeps them in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.store import checkpoints
from nmtprune.store.state import outputs_of
from nmtprune.translation.int8 import rounded


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leave model.pt: float32 weights, each row of a matrix on the engine's grid of 255 values.

    The engine's own rounding does not change them any further.
    """
    checkpoint = checkpoints.read(chain.last.kind.begins_with(chain))
    checkpoint["model"] = rounded(
        checkpoints.masked(checkpoint["model"], checkpoints.masks_of(chain)), chain.last["engine"]
    )
    checkpoints.save(checkpoint, outputs_of(state) / paths.MODEL)
    return {"updates": 0}
