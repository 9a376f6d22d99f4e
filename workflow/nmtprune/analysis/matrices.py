"""Magnitudes and dead blocks of the first feed-forward matrices of encoder and decoder.

Behnke and Heafield 2021, figure 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from torch import Tensor

from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.dead import Rule, rule_of
from nmtprune.pruning.groups import groups
from nmtprune.store import checkpoints

HEAD_DIM = 1  # any value will do: blocks lie in feed-forward matrices only
MATRICES = ("encoder.layers.0.fc1.weight", "decoder.layers.0.fc1.weight")


def analyse(config: Config, chain: Chain) -> Analysis:
    """Facts and magnitudes of MATRICES; raises UserError for a model that lacks one, such as an LSTM."""
    weights = checkpoints.state_of(chain)
    if absent := [name for name in MATRICES if name not in weights]:
        raise UserError(
            f"{chain} has no matrix `{absent[0]}`; pictures of blocks need a Transformer with feed-forward "
            "layers"
        )
    magnitudes = {name: weights[name].abs().numpy().astype(np.float16) for name in MATRICES}
    rule = rule_of(config.recipe(chain.recipe).lasso, weights, "blocks8", "both", HEAD_DIM)
    return Analysis(facts(weights, rule), magnitudes)


def facts(weights: Mapping[str, Tensor], rule: Rule) -> pd.DataFrame:
    """A row for each matrix: the numbers of `units` (rows), `inputs` (columns) and `blocks` of 8 x 8.

    `dead_units`, `dead_inputs` and `dead_blocks` say how many of each are dead by `rule`. A unit or an
    input is dead if every block that it crosses is dead.
    """
    sets = groups(weights, "blocks8", "both", HEAD_DIM)
    rows = []
    for each, dead in zip(sets, rule(sets), strict=True):
        name = f"{each.sub_layer.prefix}{each.matrix}.weight"
        if name in MATRICES:
            units, inputs = (replace(each, axis=axis).dead_units(dead) for axis in (0, 1))
            row = {"matrix": name, "units": len(units), "inputs": len(inputs), "blocks": len(dead)}
            rows.append(
                row
                | {
                    "dead_units": int(units.sum()),
                    "dead_inputs": int(inputs.sum()),
                    "dead_blocks": int(dead.sum()),
                }
            )
    return pd.DataFrame(rows)
