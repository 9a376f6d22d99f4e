"""Removing dead hidden units and heads: a smaller dense model (Behnke & Heafield 2021, sections 3 and 4.2),
its shape and its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nmtprune.experiment.shapes import Shape
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.groups import GroupSet, SubLayer, by_threshold, groups, sub_layers

Removed = dict[
    SubLayer, Tensor
]  # True for every feed-forward unit or head that goes; of tied sub-layers the first stands for all
State = Mapping[str, Tensor]


@torch.no_grad()
def dead_units(
    state: State,
    kind: str,
    where: str,
    head_dim: int,
    rule: Callable[[list[GroupSet]], list[Tensor]] = by_threshold,
) -> Removed:
    """The feed-forward units and heads that go, by sub-layer, where groups are `kind`, `where` (see `groups`)
    and dead by `rule`.

    A connection is dead when each of its weights is zero or in a dead group. A feed-forward unit goes when
    its row of W1 or its column of W2 is dead; a head goes when at least half of the connections of its Q, K,
    V and O are (5.3): for `ffn+heads`, two of its four groups.
    """
    sets = groups(state, kind, where, head_dim)
    dead: dict[SubLayer, list[Tensor]] = {}
    for each, marks in zip(sets, rule(sets), strict=True):
        dead.setdefault(each.sub_layer, []).append(each.dead_units(marks))
    return {
        sub_layer: torch.stack(units).any(0)
        if sub_layer.component == "ffn"
        else _dead_heads(torch.stack(units), head_dim)
        for sub_layer, units in dead.items()
    }


def zeroed(state: State, removed: Removed) -> dict[str, Tensor]:
    """The same model with the incoming weights of what is removed at zero: rows of W1; of a head, the rows of
    Q, K, V. Biases stay.

    What a removed unit or head still contributes is then the same for every word: slicing it away does not
    change the model any more. Tied tensors stay tied.
    """
    made = dict(state)
    for sub_layer, tied, goes in _affected(state, removed):
        for matrix in _incoming(sub_layer):
            weight = state[f"{sub_layer.prefix}{matrix}.weight"].masked_fill(goes[:, None], 0)
            made.update({f"{each.prefix}{matrix}.weight": weight for each in tied})
    return made


@torch.no_grad()
def sliced(
    state: State, removed: Removed, head_dim: int, activation: str = "relu"
) -> tuple[dict[str, Tensor], Shape]:
    """The smaller dense model and its shape; its function is that of `zeroed`.

    The constant that a removed unit contributes goes into the next bias: fc2.bias += W2[:, i] relu(b1_i),
    out_proj.bias += O_h b_v,h. Of a sub-layer with nothing left, only that bias stays. All else are the same
    tensors as before, and tied tensors stay tied. Raises UserError for an `activation` other than relu.
    """
    if activation != "relu":
        raise UserError(
            "activation_fn: slicing folds the constants of feed-forward networks with relu, not with "
            f"`{activation}`."
        )
    made = dict(state)
    for sub_layer, tied, goes in _affected(state, removed):
        tensors = {}
        for matrix in _incoming(sub_layer):
            tensors |= {
                f"{matrix}.{part}": state[f"{sub_layer.prefix}{matrix}.{part}"][~goes]
                for part in ("weight", "bias")
            }
        outgoing, constants = _outgoing(state, sub_layer)
        weight, bias = (state[f"{sub_layer.prefix}{outgoing}.{part}"] for part in ("weight", "bias"))
        folded = weight[:, goes].double() @ constants[goes].double()
        tensors |= {
            f"{outgoing}.weight": weight[:, ~goes].contiguous(),
            f"{outgoing}.bias": (bias + folded).to(bias.dtype),
        }
        for each in tied:
            for name, tensor in tensors.items():
                if tensor.numel():
                    made[each.prefix + name] = tensor
                else:
                    del made[each.prefix + name]
    return made, shape_of(made, head_dim)


def shape_of(state: State, head_dim: int) -> Shape:
    """The widths of a Transformer's layers from the bottom up, `{"encoder": [{"ffn": 330, "self": 8}, ...],
    "decoder": [...]}`.

    `ffn` are hidden units, `cross` and `self` heads; tied layers are repeated; a decoder layer without
    self-attention has no `self`.
    """
    shape: Shape = {"encoder": [], "decoder": []}
    for sub_layer in sub_layers(state):
        layers = shape[sub_layer.side]
        if len(layers) == sub_layer.layer:
            layers.append({})
        layers[sub_layer.layer][sub_layer.component] = _width(state, sub_layer, head_dim)
    return shape


def shape_without(shape: Shape, removed: Removed) -> Shape:
    """The shape that slicing leaves. Of tied sub-layers `removed` names the first, and so only that layer is
    less here.
    """
    left = {side: [dict(layer) for layer in layers] for side, layers in shape.items()}
    for sub_layer, goes in removed.items():
        left[sub_layer.side][sub_layer.layer][sub_layer.component] -= int(goes.sum())
    return left


def head_size(options: Mapping[str, Any]) -> int:
    """The width of an attention head, by fairseq's options of a Transformer."""
    return int(options.get("head_dim") or options["encoder_embed_dim"] // options["encoder_attention_heads"])


def macs_per_word(
    state: State, candidates: float | None = None, source_pieces: float = 1, target_pieces: float = 1
) -> float:
    """Multiply-accumulates of all matrix products for one source word, by greedy search.

    Projections, feed-forward networks, recurrent units and the output projection; the products of queries,
    keys and values, which grow with the sentence, are left out. Tied layers count as often as they run.
    `candidates`: the rows of the output projection that a shortlist leaves, all by default. `source_pieces`,
    `target_pieces`: what the encoder (and the decoder's keys and values of the source) and the decoder run
    over for each source word.
    """
    total = 0.0
    for name, tensor in state.items():
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


def _affected(state: State, removed: Removed) -> Iterator[tuple[SubLayer, list[SubLayer], Tensor]]:
    """The sub-layers that lose something, each with those tied to it (itself among them), and the connections
    that go [connections].
    """
    for sub_layer, goes in removed.items():
        if not goes.any():
            continue
        first = _incoming(sub_layer)[0] + ".weight"
        weight = state[sub_layer.prefix + first]
        tied = [each for each in sub_layers(state) if each.prefix + first in state]
        tied = [each for each in tied if state[each.prefix + first].data_ptr() == weight.data_ptr()]
        yield sub_layer, tied, goes.repeat_interleave(len(weight) // len(goes))


def _incoming(sub_layer: SubLayer) -> list[str]:
    """The matrices whose output units are the hidden units."""
    return [matrix for matrix, axis in sub_layer.matrices.items() if axis == 0]


def _outgoing(state: State, sub_layer: SubLayer) -> tuple[str, Tensor]:
    """The matrix that reads the hidden units, and what these are where their incoming weights are zero
    [connections].
    """
    if sub_layer.component == "ffn":
        return "fc2", state[f"{sub_layer.prefix}fc1.bias"].relu()
    return "out_proj", state[f"{sub_layer.prefix}v_proj.bias"]


def _dead_heads(connections: Tensor, head_dim: int) -> Tensor:
    """The heads [heads] at least half of whose connections are dead; `connections`: those of Q, K, V and O,
    bool [4, heads * head_dim].
    """
    by_head = connections.view(len(connections), -1, head_dim)
    return by_head.sum((0, 2)) * 2 >= len(connections) * head_dim


def _width(state: State, sub_layer: SubLayer, head_dim: int) -> int:
    """Hidden units or heads of a sub-layer; 0 if it is empty."""
    weight = state.get(f"{sub_layer.prefix}{_incoming(sub_layer)[0]}.weight")
    if weight is None:
        return 0
    return weight.shape[0] if sub_layer.component == "ffn" else weight.shape[0] // head_dim
