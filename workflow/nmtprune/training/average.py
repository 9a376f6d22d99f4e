"""An exponential moving average of the weights, as Marian keeps one (`--exponential-smoothing`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

# After t updates the newest weights count at least EARLY / (EARLY + t), so that the first ones are forgotten.
EARLY = 9


class Average:
    """The average of a model's parameters over its updates, in single precision.

    After update t the average moves by max(rate, 9 / (9 + t)) of the way to the weights: Marian's form
    without its scaling by the words of the batch. `parameters`: the model's parameters by name; the
    average follows these tensors themselves, on whatever device they are and as the optimiser changes
    them. A weight that is exactly zero after every update is exactly zero in the average.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], rate: float) -> None:
        self.parameters, self.rate, self.updates = dict(parameters), rate, 0
        self.averages = {
            name: parameter.detach().float().clone() for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights that an update has left."""
        self.updates += 1
        step = max(self.rate, EARLY / (EARLY + self.updates))
        for name, average in self.averages.items():
            average.lerp_(self.parameters[name].detach().float(), step)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Context in which the model has the averaged weights; its own return afterwards, bit by bit."""
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._copy(self.averages)
        try:
            yield
        finally:
            self._copy(own)

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """The number of updates and the averages, as a resumed training needs them."""
        return self.updates, self.averages

    def resume(self, state: tuple[int, dict[str, Tensor]]) -> None:
        """Continue from the number of updates and the averages that `state` returned."""
        self.updates = state[0]
        for name, average in self.averages.items():
            average.copy_(state[1][name])

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
