"""Remove dead hidden units and heads: the smaller dense model, its shape and its cost.

The method of Behnke & Heafield 2021, sections 3 and 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from nmtprune.experiment.shapes import SIDES, Shape
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.groups import GroupSet, SubLayer, by_threshold, groups, layer_numbers, sub_layers

# True for every feed-forward unit or head that is removed; the first of tied sub-layers stands for all.
Removed = dict[SubLayer, Tensor]
Weights = Mapping[str, Tensor]
_TANH_GELU = partial(functional.gelu, approximate="tanh")
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {  # by fairseq's names
    "relu": torch.relu,
    "gelu": functional.gelu,
    "gelu_accurate": _TANH_GELU,
    "gelu_fast": _TANH_GELU,
    "swish": functional.silu,
}


@torch.no_grad()
def dead_units(
    weights: Weights,
    kind: str,
    where: str,
    head_dim: int,
    rule: Callable[[list[GroupSet]], list[Tensor]] = by_threshold,
) -> Removed:
    """The feed-forward units and heads to remove, by sub-layer.

    `kind` and `where` define the groups (see `groups`), `rule` says which are dead. A connection is dead
    when each of its weights is zero or in a dead group. A feed-forward unit is removed when its row of
    W1 or its column of W2 is dead; a head is removed when at least half of the connections of its Q, K,
    V and O are dead (5.3), which means two of its four groups for `ffn+heads`.
    """
    sets = groups(weights, kind, where, head_dim)
    dead: dict[SubLayer, list[Tensor]] = {}
    for each, marks in zip(sets, rule(sets), strict=True):
        dead.setdefault(each.sub_layer, []).append(each.dead_units(marks))
    return {
        sub_layer: torch.stack(units).any(0)
        if sub_layer.component == "ffn"
        else _dead_heads(torch.stack(units), head_dim)
        for sub_layer, units in dead.items()
    }


def zeroed(weights: Weights, removed: Removed) -> dict[str, Tensor]:
    """The same model with zeros for the incoming weights of what is removed; biases stay.

    Incoming weights are rows of W1, and for a head the rows of Q, K and V. The remaining contribution of
    a removed unit or head is then the same for every word, so that slicing does not change the model any
    further. Tied tensors stay tied.
    """
    made = dict(weights)
    for sub_layer, tied, lost in _affected(weights, removed):
        for matrix in _incoming(sub_layer):
            weight = weights[f"{sub_layer.prefix}{matrix}.weight"].masked_fill(lost[:, None], 0)
            made.update({f"{each.prefix}{matrix}.weight": weight for each in tied})
    return made


@torch.no_grad()
def sliced(
    weights: Weights, removed: Removed, head_dim: int, activation: str = "relu"
) -> tuple[dict[str, Tensor], Shape]:
    """The smaller dense model and its shape; it computes the same function as `zeroed`.

    The constant contribution of a removed unit is added to the next bias: fc2.bias += W2[:, i]
    activation(b1_i), out_proj.bias += O_h b_v,h. A sub-layer with nothing left keeps only that bias. All
    other tensors are those of `weights`, and tied tensors stay tied. Raises UserError for an unknown
    `activation`.
    """
    if activation not in _ACTIVATIONS:
        raise UserError(
            f"activation_fn: slicing folds the constants of feed-forward networks with "
            f"{', '.join(_ACTIVATIONS)}, not with `{activation}`."
        )
    made = dict(weights)
    for sub_layer, tied, lost in _affected(weights, removed):
        tensors = {}
        for matrix in _incoming(sub_layer):
            tensors |= {
                f"{matrix}.{part}": weights[f"{sub_layer.prefix}{matrix}.{part}"][~lost]
                for part in ("weight", "bias")
            }
        outgoing, constants = _outgoing(weights, sub_layer, _ACTIVATIONS[activation])
        weight, bias = (weights[f"{sub_layer.prefix}{outgoing}.{part}"] for part in ("weight", "bias"))
        folded = weight[:, lost].double() @ constants[lost].double()
        tensors |= {
            f"{outgoing}.weight": weight[:, ~lost].contiguous(),
            f"{outgoing}.bias": (bias + folded).to(bias.dtype),
        }
        for each in tied:
            for name, tensor in tensors.items():
                if tensor.numel():
                    made[each.prefix + name] = tensor
                else:
                    del made[each.prefix + name]
    return made, shape_of(made, head_dim)


def shape_of(weights: Weights, head_dim: int) -> Shape:
    """The widths of a Transformer's layers from the bottom up.

    For example `{"encoder": [{"ffn": 330, "self": 8}, ...], "decoder": [...]}`: `ffn` counts hidden
    units, `cross` and `self` count heads. Tied layers are repeated; a layer has no entry for a sub-layer
    that it lacks, nor for an SSRU.
    """
    shape: Shape = {side: [{} for _ in layer_numbers(weights, side)] for side in SIDES}
    for sub_layer in sub_layers(weights):
        shape[sub_layer.side][sub_layer.layer][sub_layer.component] = _width(weights, sub_layer, head_dim)
    return shape


def shape_without(shape: Shape, removed: Removed) -> Shape:
    """The shape that slicing leaves.

    `removed` names the first of tied sub-layers only, so only the width of that layer is reduced here.
    """
    left = {side: [dict(layer) for layer in layers] for side, layers in shape.items()}
    for sub_layer, units in removed.items():
        left[sub_layer.side][sub_layer.layer][sub_layer.component] -= int(units.sum())
    return left


def head_size(options: Mapping[str, Any]) -> int:
    """The width of an attention head, from fairseq's options of a Transformer."""
    return int(options.get("head_dim") or options["encoder_embed_dim"] // options["encoder_attention_heads"])


def macs_per_word(
    weights: Weights, candidates: float | None = None, source_pieces: float = 1, target_pieces: float = 1
) -> float:
    """Multiply-accumulates of all matrix products for one source word, in greedy search.

    Projections, feed-forward networks, recurrent units and the output projection count; the products of
    queries, keys and values, which grow with the sentence length, do not. Tied layers count as often as
    they run. `candidates`: rows of the output projection that a shortlist leaves, by default all.
    `source_pieces` and `target_pieces`: numbers of subwords for each source word, on the source side
    (the encoder, and the decoder's keys and values of the source) and on the target side (the rest of
    the decoder).
    """
    total = 0.0
    for name, tensor in weights.items():
        if tensor.dim() == 2 and name.endswith(".weight") and ".embed_" not in name:
            rows = (
                tensor.shape[0]
                if candidates is None or not name.endswith("output_projection.weight")
                else candidates
            )
            of_source = name.startswith("encoder.") or name.endswith(
                ("encoder_attn.k_proj.weight", "encoder_attn.v_proj.weight")
            )
            total += rows * tensor.shape[1] * (source_pieces if of_source else target_pieces)
    return total


def _affected(weights: Weights, removed: Removed) -> Iterator[tuple[SubLayer, list[SubLayer], Tensor]]:
    """The sub-layers that lose connections, each with all sub-layers tied to it and the connections it loses.

    The tied sub-layers include the sub-layer itself; the connections are a mask [connections].
    """
    for sub_layer, lost in removed.items():
        if not lost.any():
            continue
        first = _incoming(sub_layer)[0] + ".weight"
        weight = weights[sub_layer.prefix + first]
        tied = [each for each in sub_layers(weights) if each.prefix + first in weights]
        tied = [each for each in tied if weights[each.prefix + first].data_ptr() == weight.data_ptr()]
        yield sub_layer, tied, lost.repeat_interleave(len(weight) // len(lost))


def _incoming(sub_layer: SubLayer) -> list[str]:
    """The matrices whose output units are the hidden units."""
    return [matrix for matrix, axis in sub_layer.matrices.items() if axis == 0]


def _outgoing(
    weights: Weights, sub_layer: SubLayer, activation: Callable[[Tensor], Tensor]
) -> tuple[str, Tensor]:
    """The matrix that reads the hidden units, and the units' values where incoming weights are zero.

    The values are [connections].
    """
    if sub_layer.component == "ffn":
        return "fc2", activation(weights[f"{sub_layer.prefix}fc1.bias"])
    return "out_proj", weights[f"{sub_layer.prefix}v_proj.bias"]


def _dead_heads(connections: Tensor, head_dim: int) -> Tensor:
    """Heads (bool [heads]) of which at least half of the connections are dead.

    `connections`: the dead connections of Q, K, V and O, bool [4, heads * head_dim].
    """
    by_head = connections.view(len(connections), -1, head_dim)
    return by_head.sum((0, 2)) * 2 >= len(connections) * head_dim


def _width(weights: Weights, sub_layer: SubLayer, head_dim: int) -> int:
    """Number of hidden units or heads of a sub-layer; 0 if it is empty."""
    weight = weights.get(f"{sub_layer.prefix}{_incoming(sub_layer)[0]}.weight")
    if weight is None:
        return 0
    return weight.shape[0] if sub_layer.component == "ffn" else weight.shape[0] // head_dim
