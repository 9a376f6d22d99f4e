"""Masks that hold through training: a pruned weight is zero to the last bit after every update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nmtprune.fairseq_bridge.session import Trainer
from nmtprune.training.treatment import Treatment


class Masked(Treatment):
    """Training under masks.

    Raises RuntimeError at a validation where a pruned weight is not exactly zero.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        self.masks = masks

    def begin(self, trainer: Trainer) -> None:
        self.trainer = trainer
        hold(trainer.get_model(), self.masks)

    def history(self) -> dict[str, Any]:
        """The column `sparsity`: the pruned share of the masked matrices in percent."""
        if names := broken(self.trainer.get_model(), self.masks):
            raise RuntimeError(
                f"pruned weights are not zero in {', '.join(names)} at update "
                f"{self.trainer.get_num_updates()}"
            )
        total = sum(mask.numel() for mask in self.masks.values())
        return {"sparsity": 100 * (1 - sum(int(mask.sum()) for mask in self.masks.values()) / total)}


def hold(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the pruned weights of `model` to zero, and their gradients from now on.

    `masks`: for each parameter name a boolean tensor of the parameter's shape, True where a weight is
    kept. Call this before the optimiser is built, and start the optimiser without state: if weight,
    gradient and moments are exactly zero, they stay zero under Adam and SGD, with weight decay, in fp16
    (master weights are copies of these weights) and in distributed training (every worker masks the same
    gradients).
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters[name]
        pruned = ~mask.to(parameter.device)
        with torch.no_grad():
            parameter.masked_fill_(pruned, 0)
        parameter.register_hook(lambda gradient, pruned=pruned: gradient.masked_fill(pruned, 0))


def broken(model: nn.Module, masks: Mapping[str, Tensor]) -> list[str]:
    """Names of parameters in which a pruned weight is not exactly zero."""
    parameters = dict(model.named_parameters())
    return [
        name
        for name, mask in masks.items()
        if parameters[name].detach()[~mask.to(parameters[name].device)].any()
    ]
