"""Tied tensors: names of a state dict that share one tensor."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def replaced(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with some of them replaced, by name; what is tied to a replaced tensor is replaced with it.

    Empty tensors, which may share an address without being tied, stay.
    """
    by_address = {weights[name].data_ptr(): other for name, other in others.items()}
    return {
        name: by_address.get(each.data_ptr(), each) if each.numel() else each
        for name, each in weights.items()
    }
