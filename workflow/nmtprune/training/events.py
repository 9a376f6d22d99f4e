"""TensorBoard: what a training's history says at each validation, and the norms of the groups of a lasso."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

NOT_PLOTTED = ("update", "seconds")


class Events:
    """Writes event files into a folder of their own.

    A training that goes on after a stop writes its whole history again, so that no value appears twice.
    """

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        self._written = 0

    def write(self, history: Sequence[Mapping[str, Any]], norms: Mapping[str, Tensor]) -> None:
        """Write the validations that are not written yet; `norms` [groups] belong to the last of them."""
        for row in history[self._written :]:
            for name, value in row.items():
                if name not in NOT_PLOTTED and isinstance(value, int | float):
                    self._writer.add_scalar(name, value, row["update"])
        for name, values in norms.items():
            self._writer.add_histogram(f"group_norms/{name}", values, history[-1]["update"])
        self._written = len(history)
        self._writer.flush()
