"""Fine-tune weights that an engine rounds to 8 bits, with the straight-through estimator."""

from __future__ import annotations

from nmtprune.fairseq_bridge.session import Trainer
from nmtprune.training.treatment import Treatment
from nmtprune.translation import int8


class Rounded(Treatment):
    """Computes losses and gradients with rounded weights, and updates the unrounded weights.

    Weights are rounded as the engine rounds them.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def begin(self, trainer: Trainer) -> None:
        self.parameters = dict(trainer.get_model().named_parameters())
        plain_step = trainer.task.optimizer_step

        def step(*args: object, **kwargs: object) -> None:
            self._restore()
            plain_step(*args, **kwargs)

        trainer.task.optimizer_step = step
        self.saved = None

    def before_update(self, update: int) -> None:
        self.saved = int8.swap_in(self.parameters, self.engine)

    def after_update(self) -> None:
        self._restore()

    def before_validation(self) -> None:
        self.saved = int8.swap_in(self.parameters, self.engine)

    def after_validation(self) -> None:
        self._restore()

    def _restore(self) -> None:
        if self.saved is not None:
            int8.restore(self.parameters, self.saved)
            self.saved = None
