"""What may be done to a training beside its updates: masks that hold, a penalty, weights rounded for an
engine.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nmtprune.fairseq_bridge.session import Trainer


class Treatment:
    """Called by the training loop at these moments; each does nothing by default. Treatments do not know of
    each other.
    """

    def begin(self, trainer: Trainer) -> None:
        """Before the optimiser is built and anything is resumed."""

    def before_update(self, update: int) -> None:
        """Before the forward pass of update number `update`, the first is 1."""

    def after_update(self) -> None:
        """After the optimiser's step, and after an update that half precision gave up."""

    def before_validation(self) -> None: ...

    def after_validation(self) -> None: ...

    def history(self) -> dict[str, Any]:
        """Columns of the history, of the model as it is at a validation. The same columns each time."""
        return {}

    def norms(self) -> dict[str, Tensor]:
        """Norms [groups] of the groups of weights that a penalty shrinks, by what they are groups of."""
        return {}

    def state(self) -> Any:
        """What a resumed training needs of it; None where nothing."""
        return None

    def resume(self, state: Any) -> None: ...
