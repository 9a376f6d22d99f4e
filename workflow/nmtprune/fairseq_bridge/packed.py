"""A model's forward pass in training, computed on the tokens of a batch without padding.

fairseq also computes at the padding wherever sentences of a batch differ in length, which on Multi30k is
an eighth of all target positions. Here every layer works on the tokens, [rows, d] (`attention.Packing`);
only attention and the SSRU process them sentence by sentence. Queries, keys and values are computed by
one product, and dropout and the residual sum in one pass. The parameters are the model's own. Results
equal those of the model's own forward pass up to float rounding, except that dropout draws other random
numbers. For an LSTM, whose layers skip padding themselves (`recurrence`), only the output projection is
restricted to tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.models.transformer import TransformerModel, TransformerModelBase
from fairseq.modules import MultiheadAttention
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import Tensor, nn
from torch.nn import functional

from nmtprune.fairseq_bridge import student
from nmtprune.fairseq_bridge.attention import Packing, attend, from_heads, to_heads
from nmtprune.fairseq_bridge.dropout import dropout, dropped_sum, rate
from nmtprune.fairseq_bridge.lstm import Lstm

LENGTHS = 4  # in mixed precision sentences are padded to a multiple of this number of positions
_LAYERS = (TransformerEncoderLayerBase, TransformerDecoderLayerBase, student.Layer)
# optional parts of fairseq's Transformer that this module does not compute
_EXTRAS = (
    *("layernorm_embedding", "quant_noise", "project_in_dim", "project_out_dim", "adaptive_softmax"),
    *("c_attn", "attn_ln", "ffn_layernorm", "w_resid", "return_fc", "cross_self_attention"),
    *("bias_k", "add_zero_attn", "use_xformers"),
)


@lru_cache(maxsize=1)  # asked for every batch of a training, and slow to compute
def supports(model: Any) -> bool:
    """Whether `features` supports the model.

    It supports fairseq's Transformer without optional parts, students, and the LSTM of See et al., on a
    CPU with single-precision weights.
    """
    weight = next(model.parameters(), None)
    if weight is None or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return False
    if type(model) is Lstm:
        return True
    if type(model) not in (TransformerModel, TransformerModelBase, student.Student):
        return False
    layers = [*model.encoder.layers.children(), *model.decoder.layers.children()]
    parts = [
        model.encoder,
        model.decoder,
        *layers,
        *(part for part in model.modules() if isinstance(part, MultiheadAttention)),
    ]
    extras = (getattr(part, name, None) for part in parts for name in _EXTRAS)
    plain = all(extra is None or extra is False or extra == 0 for extra in extras)
    projection = model.decoder.output_projection
    own_layers = all(isinstance(layer, _LAYERS) for layer in layers)
    return plain and own_layers and isinstance(projection, nn.Linear) and not _is_trained(projection.bias)


def _is_trained(bias: Tensor | None) -> bool:
    return bias is not None and bias.requires_grad


def features(model: Any, source: Tensor, target_input: Tensor) -> tuple[Tensor, Packing]:
    """The input of the output projection at the target's tokens [rows, d], and their packing.

    `source`: types [sentences, source length]; `target_input`: types [sentences, target length], the
    target shifted right by the end of sentence and padded on the right. For `rows` see `Packing`.
    """
    if isinstance(model, Lstm):
        states, _ = model.decoder(target_input, model.encoder(source), features_only=True)
        packing = Packing.of(target_input.ne(model.decoder.padding_idx))
        return packing.pack(states.flatten(0, 1)), packing
    memory, source_packing = _encode(model.encoder, source)
    return _decode(model.decoder, target_input, memory, source_packing)


def filled_up(model: Any, source: Tensor, *targets: Tensor) -> tuple[Tensor, ...]:
    """Pad sources (on the left) and targets (on the right) to multiples of LENGTHS positions.

    All are types [sentences, length]. oneDNN then compiles fewer kernels (see `Packing`). In single
    precision they are returned unchanged, and also for an LSTM, which takes as long for a step of
    padding as for any other.
    """
    if isinstance(model, Lstm) or not torch.is_autocast_enabled(source.device.type):
        return source, *targets
    padding = model.decoder.padding_idx
    source = functional.pad(source, (-source.shape[1] % LENGTHS, 0), value=padding)
    return source, *(
        functional.pad(target, (0, -target.shape[1] % LENGTHS), value=padding) for target in targets
    )


def _encode(encoder: Any, source: Tensor) -> tuple[Tensor, Packing]:
    packing = Packing.of(source.ne(encoder.padding_idx))
    padding = _hidden_padding(packing)
    x = _embedded(encoder, source, packing)
    for layer in encoder.layers:
        x = _residual(
            layer, x, layer.self_attn_layer_norm, partial(_self_attention, layer.self_attn, packing, padding)
        )
        x = _residual(layer, x, layer.final_layer_norm, partial(_feed_forward, layer))
    return x if encoder.layer_norm is None else encoder.layer_norm(x), packing


def _decode(decoder: Any, target_input: Tensor, memory: Tensor, source: Packing) -> tuple[Tensor, Packing]:
    packing = Packing.of(target_input.ne(decoder.padding_idx))
    # Padding need not be hidden: it comes after all tokens of a target.
    later = _hidden_later(packing.length, memory.device)
    padding = _hidden_padding(source)
    x = _embedded(decoder, target_input, packing)
    for layer in decoder.layers:
        if getattr(layer, "ssru", None) is not None:
            look_back = partial(_ssru, layer.ssru, packing)
        else:
            look_back = partial(_self_attention, layer.self_attn, packing, later)
        x = _residual(layer, x, layer.self_attn_layer_norm, look_back)
        look_at_source = partial(_cross_attention, layer.encoder_attn, packing, memory, source, padding)
        x = _residual(layer, x, layer.encoder_attn_layer_norm, look_at_source)
        x = _residual(layer, x, layer.final_layer_norm, partial(_feed_forward, layer))
    return x if decoder.layer_norm is None else decoder.layer_norm(x), packing


def _embedded(side: Any, types: Tensor, packing: Packing) -> Tensor:
    """Scaled embeddings plus positions, with dropout [rows, d], of types [sentences, length]."""
    x = side.embed_scale * side.embed_tokens(packing.pack(types.flatten()))
    if side.embed_positions is not None:
        x = x + packing.pack(side.embed_positions(types).flatten(0, 1))
    return dropout(x, rate(side.dropout_module))


def _residual(layer: Any, x: Tensor, norm: nn.Module | None, sub_layer: Callable[[Tensor], Tensor]) -> Tensor:
    """`x` plus the sub-layer's output, as in `student.Layer.residual`; no sub-layer if `norm` is None."""
    if norm is None:
        return x
    if layer.training and student.left_out(getattr(layer, "sub_layer_drop", 0.0)):
        return x if layer.normalize_before else norm(x)
    p = rate(layer.dropout_module)
    if layer.normalize_before:
        return dropped_sum(x, sub_layer(norm(x)), p)
    return norm(dropped_sum(x, sub_layer(x), p))


def _feed_forward(layer: Any, x: Tensor) -> Tensor:
    if layer.fc1 is None:
        return layer.fc2(x)
    hidden, activation = layer.fc1(x), layer.activation_fn
    hidden = hidden.relu_() if activation is functional.relu else activation(hidden)
    return layer.fc2(dropout(hidden, rate(layer.activation_dropout_module)))


def _self_attention(attention: Any, packing: Packing, hidden: Tensor | None, x: Tensor) -> Tensor:
    """Self-attention of `x` [rows, d].

    `hidden` [sentences or 1, 1 or length, length]: added to the scores (see `attend`), or None.
    """
    heads = attention.num_heads
    if not heads:
        return attention.out_proj(x)
    queries, keys, values = to_heads(
        _side_by_side(x, attention.q_proj, attention.k_proj, attention.v_proj), packing, 3, heads
    )
    gathered = attend(queries, keys, values, _for_heads(hidden, heads), rate(attention.dropout_module))
    return attention.out_proj(from_heads(gathered, packing, heads))


def _cross_attention(
    attention: Any, packing: Packing, memory: Tensor, source: Packing, hidden: Tensor | None, x: Tensor
) -> Tensor:
    """Attention of `x` [rows, d] to `memory` [source rows, d], the encoder's output at the tokens."""
    heads = attention.num_heads
    if not heads:
        return attention.out_proj(x)
    (queries,) = to_heads(attention.q_proj(x), packing, 1, heads)
    keys, values = to_heads(_side_by_side(memory, attention.k_proj, attention.v_proj), source, 2, heads)
    gathered = attend(queries, keys, values, _for_heads(hidden, heads), rate(attention.dropout_module))
    return attention.out_proj(from_heads(gathered, packing, heads))


def _ssru(ssru: student.Ssru, packing: Packing, x: Tensor) -> Tensor:
    def time_first(packed: Tensor) -> Tensor:
        return packing.pad(packed).view(packing.sentences, packing.length, -1).transpose(0, 1)

    forget, candidate = torch.sigmoid(ssru.forget_proj(x)), ssru.candidate_proj(x)
    cells = student.recurrence(time_first(forget), time_first(candidate - forget * candidate))
    return torch.relu(packing.pack(cells.transpose(0, 1).flatten(0, 1)))


def _side_by_side(x: Tensor, *projections: nn.Linear) -> Tensor:
    """The outputs of several linear layers next to each other, computed by one product."""
    weight = torch.cat([projection.weight for projection in projections])
    bias = None if projections[0].bias is None else torch.cat([projection.bias for projection in projections])
    return functional.linear(x, weight, bias)


def _hidden_padding(packing: Packing) -> Tensor | None:
    """Minus infinity at the padding of a sentence [sentences, 1, length]; None if there is no padding."""
    if packing.tokens is None:
        return None
    hidden = torch.full((packing.sentences * packing.length,), float("-inf"), device=packing.tokens.device)
    return hidden.index_fill_(0, packing.tokens, 0.0).view(packing.sentences, 1, packing.length)


def _hidden_later(length: int, device: torch.device) -> Tensor:
    """Minus infinity at the positions after each position [1, length, length]."""
    return torch.full((1, length, length), float("-inf"), device=device).triu_(1)


def _for_heads(hidden: Tensor | None, heads: int) -> Tensor | None:
    """Repeat what is hidden from a sentence for each of its heads."""
    return hidden if hidden is None or len(hidden) == 1 else hidden.repeat_interleave(heads, 0)
