"""The interface of treatments: what a training does beside its updates.

Treatments hold masks, add a penalty, or round weights for an engine.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nmtprune.fairseq_bridge.session import Trainer


class Treatment:
    """Methods that the training loop calls at fixed moments; each does nothing by default.

    Treatments are independent of each other.
    """

    def begin(self, trainer: Trainer) -> None:
        """Called before the optimiser is built and before anything is resumed."""

    def before_update(self, update: int) -> None:
        """Called before the forward pass of update number `update`, counted from 1."""

    def after_update(self) -> None:
        """Called after the optimiser's step, and after an update that overflowed in half precision."""

    def before_validation(self) -> None:
        """Called before the development loss is computed."""

    def after_validation(self) -> None:
        """Called when development loss and BLEU are computed, before a checkpoint is written."""

    def history(self) -> dict[str, Any]:
        """Columns of the history at a validation, the same ones each time."""
        return {}

    def norms(self) -> dict[str, Tensor]:
        """Norms [groups] of the groups of weights that a penalty shrinks, by what they are groups of."""
        return {}

    def state(self) -> Any:
        """What a resumed training needs from this treatment; None if nothing."""
        return None

    def resume(self, state: Any) -> None:
        """Continue from what `state` returned in the interrupted training."""
