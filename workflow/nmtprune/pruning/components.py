"""Ablate the components of a Transformer, move them to their initial weights, or cut them out.

The first two are operations of Wang and Tu 2020, section 2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nmtprune.experiment.components import KINDS, Component, nothing_left
from nmtprune.experiment.shapes import SIDES
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.pruning.groups import SubLayer, layer_numbers, renumbered, sub_layers
from nmtprune.store.tied import replaced

Weights = Mapping[str, Tensor]


def components_of(names: Iterable[str]) -> list[Component]:
    """The components of a model, from its parameters' names: kind by kind, each from the bottom layer up.

    A sub-layer of which only its output bias is left is none.
    """
    kinds, names = {place: kind for kind, place in KINDS.items()}, set(names)
    components = [
        Component(kinds[each.side, each.component], each.layer + 1)
        for each in sub_layers(names)
        if f"{each.outgoing}.weight" in names
    ]
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
        outgoing = sub_layer_of(component).outgoing
        names = [name for name in (f"{outgoing}.weight", f"{outgoing}.bias") if name in weights]
        if not names:
            raise _unknown(weights, component)
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


def cut(weights: Weights, components: Iterable[Component], pre_norm: Mapping[str, bool]) -> dict[str, Tensor]:
    """The model without some components, with the function of the model in which they are ablated.

    `pre_norm` says for each side whether layer norms stand before the sub-layers. With pre-norm, a component
    is removed together with its layer norm; a layer with nothing left is removed, and the layers above it
    move down. With post-norm, the residual passes through the component's layer norm, which stays with an
    output bias of zeros. Raises UserError for a component that the model does not have, and if a side has no
    component left.
    """
    components = list(components)
    biases, gone = {}, set()
    for component in components:
        sub_layer, own = sub_layer_of(component), parameters(weights, component)
        if f"{sub_layer.outgoing}.weight" not in own:
            raise _unknown(weights, component)
        if pre_norm[sub_layer.side]:
            gone |= {*own, f"{sub_layer.layer_norm}.weight", f"{sub_layer.layer_norm}.bias"}
        else:
            bias = f"{sub_layer.outgoing}.bias"
            biases[bias] = torch.zeros_like(weights[bias])
            gone |= {*own} - {bias}
    left = {name: biases.get(name, tensor) for name, tensor in weights.items() if name not in gone}
    sides = {KINDS[each.kind][0] for each in components_of(left)}
    for side in SIDES:
        if side not in sides:
            raise nothing_left(side, components)
    return _closed_up(left)


def _closed_up(weights: Weights) -> dict[str, Tensor]:
    """The model with its layers numbered without gaps."""
    numbers = {side: {old: new for new, old in enumerate(layer_numbers(weights, side))} for side in SIDES}
    return {renumbered(name, numbers): tensor for name, tensor in weights.items()}


def _unknown(weights: Weights, component: Component) -> UserError:
    """The error for a component that a model does not have."""
    valid = list(map(str, components_of(weights)))
    return UserError(f"the model has no component `{component}`; {suggest(str(component), valid)}")
