"""`int8-<engine>`: the weights as that engine keeps them in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune import models, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.scoring.int8 import rounded
from nmtprune.steps.store import outputs_of


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leaves model.pt: single precision, every matrix on the engine's grid of 255 values a row. The engine rounds it to itself."""
    checkpoint = models.read(paths.before(chain))
    checkpoint["model"] = rounded(models.masked(checkpoint["model"], models.masks_of(chain)), chain.last["engine"])
    models.save(checkpoint, outputs_of(state) / paths.MODEL)
    return {"updates": 0}
