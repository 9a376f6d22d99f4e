"""Access to a Transformer's parameters for engines."""

from __future__ import annotations

from torch import Tensor

from nmtprune.store.model import Model

_BUFFERS = {
    f"{side}.{name}"
    for side in ("encoder", "decoder")
    for name in ("version", "embed_positions._float_tensor")
}


class NotATransformer(Exception):  # noqa: N818 - why an engine leaves a model out, not a fault
    """Raised with the reason why a model is not a Transformer that an engine can run."""


class Parameters:
    """A model's options and parameters, with a record of which parameters have been read.

    If some are never read, the model has another architecture.
    """

    def __init__(self, model: Model) -> None:
        self.options = model.options
        self._state = model.weights
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._state:
            raise NotATransformer(f"parameter `{name}` is missing")
        self._read.add(name)
        return self._state[name].detach()

    def pass_over(self, *names: str) -> None:
        """Record parameters without effect as read."""
        self._read.update(names)

    def check_all_read(self) -> None:
        """Raise NotATransformer if a parameter has not been read; the message names it."""
        if unread := sorted(self._state.keys() - self._read - _BUFFERS):
            raise NotATransformer(f"parameter `{unread[0]}` is not a Transformer's")
