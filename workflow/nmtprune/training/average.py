"""An exponential moving average of the weights, as Marian keeps one (`--exponential-smoothing`)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

# of the first updates: after t of them the newest weights count EARLY / (EARLY + t) at least, so that the
# first are forgotten
EARLY = 9


class Average:
    """The average of a model's parameters over its updates, in single precision.

    After update t it moves by max(rate, 9 / (9 + t)) of the way to the weights: Marian's form without its
    scaling by the batch's words. `parameters`: the model's, by name, as they are: moved and stepped, they are
    still the ones that are averaged. A weight of exactly zero at every update is exactly zero in the average.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], rate: float) -> None:
        self.parameters, self.rate, self.updates = dict(parameters), rate, 0
        self.averages = {
            name: parameter.detach().float().clone() for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as an update has left them."""
        self.updates += 1
        step = max(self.rate, EARLY / (EARLY + self.updates))
        for name, average in self.averages.items():
            average.lerp_(self.parameters[name].detach().float(), step)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the average; afterwards with its own weights again, bit by bit."""
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._copy(self.averages)
        try:
            yield
        finally:
            self._copy(own)

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """What a resumed training needs."""
        return self.updates, self.averages

    def resume(self, state: tuple[int, dict[str, Tensor]]) -> None:
        self.updates = state[0]
        for name, average in self.averages.items():
            average.copy_(state[1][name])

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
