"""Ablate the components of a Transformer, or move them towards their initial weights.

The operations of Wang and Tu 2020, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nmtprune.experiment.components import KINDS, Component
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.pruning.groups import SubLayer, sub_layers
from nmtprune.store.tied import replaced

_OUTGOING = {"ffn": "fc2", "self": "out_proj", "cross": "out_proj"}  # last matrix of each component
Weights = Mapping[str, Tensor]


def components_of(names: Iterable[str]) -> list[Component]:
    """The components of a model, from its parameters' names: kind by kind, each from the bottom layer up."""
    kinds = {place: kind for kind, place in KINDS.items()}
    components = [Component(kinds[each.side, each.component], each.layer + 1) for each in sub_layers(names)]
    return sorted(components, key=lambda component: (list(KINDS).index(component.kind), component.layer))


def sub_layer_of(component: Component) -> SubLayer:
    """The sub-layer that a component names."""
    side, part = KINDS[component.kind]
    return SubLayer(side, component.layer - 1, part)


def parameters(names: Iterable[str], component: Component) -> list[str]:
    """The names of a component's matrices and biases, without its layer norm."""
    sub_layer = sub_layer_of(component)
    wanted = {
        f"{sub_layer.prefix}{matrix}.{kind}" for matrix in sub_layer.matrices for kind in ("weight", "bias")
    }
    return [name for name in names if name in wanted]


def ablation(weights: Weights, ablated: Iterable[Component]) -> dict[str, Tensor]:
    """Masks that silence components: the last matrix of each component and its bias are pruned entirely.

    The output of such a component is exactly zero; the residual connection stays. Raises UserError for a
    component that the model does not have.
    """
    masks = {}
    for component in ablated:
        sub_layer = sub_layer_of(component)
        prefix = f"{sub_layer.prefix}{_OUTGOING[sub_layer.component]}"
        names = [name for name in (f"{prefix}.weight", f"{prefix}.bias") if name in weights]
        if not names:
            valid = list(map(str, components_of(weights)))
            raise UserError(f"the model has no component `{component}`; {suggest(str(component), valid)}")
        masks |= {name: torch.zeros_like(weights[name], dtype=torch.bool) for name in names}
    return masks


def moved(weights: Weights, initial: Weights, component: Component, alpha: float) -> dict[str, Tensor]:
    """The model with one component at (1 - alpha) * initial + alpha * final weights (equation 2).

    The component's matrices and biases move; layer norms and all other parameters stay. With alpha 1 the
    result equals the model bit by bit, with alpha 0 the component has its initial weights. Tensors of
    other layers that are tied to the component's move with them.
    """
    ends = {0.0: initial, 1.0: weights}
    return replaced(
        weights,
        {
            name: ends[alpha][name] if alpha in ends else torch.lerp(initial[name], weights[name], alpha)
            for name in parameters(weights, component)
        },
    )


def rewound(weights: Weights, initial: Weights, components: Iterable[Component]) -> dict[str, Tensor]:
    """The model with several components at their initial weights."""
    made = dict(weights)
    for component in components:
        made = moved(made, initial, component, 0)
    return made
