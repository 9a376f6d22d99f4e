"""Masks that hold through training: a pruned weight is zero to the last bit after every update."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def hold(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Zero the pruned weights of `model` and keep their gradients at zero from now on.

    `masks`: parameter name -> boolean tensor of the parameter's shape, True where a weight is kept. Call it before the optimiser is
    built and start that without state: a weight, a gradient and a moment of exactly zero stay zero under Adam and SGD, with weight
    decay, in fp16 (master weights are copied from these) and under distributed training (every worker masks the same gradients).
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
    return [name for name, mask in masks.items() if parameters[name].detach()[~mask.to(parameters[name].device)].any()]
