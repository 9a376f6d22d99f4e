"""`slice`: the smaller dense model that is left without its dead groups (Behnke and Heafield 2021, 3 and 4.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from nmtprune import models, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.files import atomic
from nmtprune.pruning.dead import by_percent, norms, rule_of
from nmtprune.pruning.groups import groups
from nmtprune.pruning.slicing import attention_sparsity, dead_units, ffn_sparsity, head_size, shape_of, sliced
from nmtprune.steps.store import outputs_of
from nmtprune.toolkit.student import with_shape

ALL = "ffn+att", "both"  # what is looked at where no lasso says what it was to clear


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leaves model.pt, and norms.npz: the norms of all groups with the cuts below which they were dead."""
    settings = config.lasso(chain.recipe)
    lasso = next((step for step in reversed(chain.steps) if step.family.name == "lasso"), None)
    kind, where = (lasso["groups"], lasso["where"]) if lasso else ALL
    sought = lasso is not None and lasso["lambda"].startswith("to")
    rule = by_percent(float(lasso["lambda"].removeprefix("to"))) if sought else rule_of(settings)
    checkpoint = models.read(models.before(chain))
    weights, options = checkpoint["model"], checkpoint["cfg"]["model"]
    head_dim, tied = head_size(options), bool(options.get("tied_decoder_layers"))
    removed = dead_units(weights, kind, where, head_dim, rule)
    checkpoint["model"], shape = sliced(weights, removed, head_dim, options.get("activation_fn", "relu"))
    checkpoint["cfg"]["model"] = with_shape(options, shape)
    outputs = outputs_of(state)
    with atomic(outputs / paths.NORMS) as temporary, open(temporary, "wb") as file:
        numpy.savez(file, **norms(groups(weights, kind, where, head_dim)))
    models.save(checkpoint, outputs / paths.MODEL)
    before = shape_of(weights, head_dim)
    facts = {"ffn_sparsity": ffn_sparsity(shape, before, tied), "attention_sparsity": attention_sparsity(shape, before, tied)}
    return {"updates": 0, "shape": shape, **facts}
