"""`import-<name>`: a model from elsewhere as the root of chains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge import imports
from nmtprune.steps.lengths import check_lengths
from nmtprune.store import checkpoints
from nmtprune.store.model import positions
from nmtprune.store.state import outputs_of


def make(config: Config, chain: Chain, state: Path) -> dict[str, Any]:
    """Leave model.pt: the imported weights, tied again where they were tied.

    The optimiser's state and fairseq's duplicate parameters are left out. Raises UserError if the file is
    neither a checkpoint of fairseq nor a Marian model, or if its dictionaries do not fit it.
    """
    given = config.imported(chain.root["name"])
    task = config.task(chain.task)
    binarised = paths.binarised(config.data_folder(chain))
    checkpoint = imports.convert(imports.read_import(given), given.weights, binarised, *task.languages)
    check_lengths(config, chain, positions(checkpoints.options_by_name(checkpoint["cfg"]["model"])))
    checkpoints.save(checkpoint, outputs_of(state) / paths.MODEL)
    return {
        "updates": checkpoint["optimizer_history"][-1]["num_updates"],
        "imported_from": str(given.weights),
    }
