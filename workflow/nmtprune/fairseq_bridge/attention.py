"""Attention in few large operations.

On a CPU, PyTorch's own softmax and fused attention are slow for short sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nmtprune.fairseq_bridge.dropout import dropout

ROWS = 32  # in mixed precision the number of rows of a packed batch is a multiple of this
# Floats in the widest vector register; PyTorch's softmax processes shorter rows one element at a time.
_VECTOR = 16


@dataclass(frozen=True)
class Packing:
    """The positions of a batch [sentences, length] that hold tokens, for computing without padding.

    `tokens`: indices of these positions in the flattened batch; None if all positions hold tokens. A
    packed tensor has `rows` rows. In mixed precision there are a few more rows than tokens, since oneDNN
    compiles its bfloat16 products anew for every number of rows. The additional rows follow the tokens
    and start as zeros; no token and no gradient depends on them.
    """

    sentences: int
    length: int
    tokens: Tensor | None
    rows: int

    @classmethod
    def of(cls, held: Tensor) -> Packing:
        """The packing of a batch; `held` [sentences, length] is true where there is a token."""
        sentences, length = held.shape
        if bool(held.all()):
            return cls(sentences, length, None, held.numel())
        tokens = held.flatten().nonzero().squeeze(1)
        step = ROWS if torch.is_autocast_enabled(held.device.type) else 1
        return cls(sentences, length, tokens, -(-len(tokens) // step) * step)

    def pack(self, padded: Tensor, fill: int = 0) -> Tensor:
        """[sentences * length, ...] to [rows, ...]; the rows after the tokens hold `fill`."""
        if self.tokens is None:
            return padded
        return _Pack.apply(padded, self) if padded.is_floating_point() else _packed(self, padded, fill)

    def pad(self, packed: Tensor) -> Tensor:
        """[rows, ...] to [sentences * length, ...], with zeros at positions without a token."""
        return packed if self.tokens is None else _Pad.apply(packed, self)


def _packed(packing: Packing, padded: Tensor, fill: int = 0) -> Tensor:
    if packing.tokens is None:
        return padded
    packed = padded.new_empty(packing.rows, *padded.shape[1:])
    torch.index_select(padded, 0, packing.tokens, out=packed[: len(packing.tokens)])
    packed[len(packing.tokens) :] = fill
    return packed


def _padded(packing: Packing, packed: Tensor) -> Tensor:
    if packing.tokens is None:
        return packed
    padded = packed.new_zeros(packing.sentences * packing.length, *packed.shape[1:])
    return padded.index_copy_(0, packing.tokens, packed[: len(packing.tokens)])


class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, padded: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return _packed(packing, padded)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _padded(ctx.packing, gradient), None


class _Pad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, packed: Tensor, packing: Packing) -> Tensor:
        ctx.packing = packing
        return _padded(packing, packed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _packed(ctx.packing, gradient), None


class _ToHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packing: Packing, parts: int, heads: int) -> tuple[Tensor, ...]:
        ctx.packing = packing
        by_head = _padded(packing, x).view(packing.sentences, packing.length, parts, heads, -1)
        ctx.shape = by_head.shape
        return tuple(by_head[:, :, part].transpose(1, 2).flatten(0, 1).contiguous() for part in range(parts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        sentences, length, _, heads, head_dim = ctx.shape
        padded = gradients[0].new_empty(ctx.shape)
        for part, gradient in enumerate(gradients):
            padded[:, :, part].copy_(gradient.view(sentences, heads, length, head_dim).transpose(1, 2))
        return _packed(ctx.packing, padded.view(sentences * length, -1)), None, None, None


class _FromHeads(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, packing: Packing, heads: int) -> Tensor:
        ctx.packing, ctx.heads = packing, heads
        by_position = x.view(packing.sentences, heads, packing.length, -1).transpose(1, 2)
        return _packed(packing, by_position.reshape(packing.sentences * packing.length, -1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        packing = ctx.packing
        by_position = _padded(packing, gradient).view(packing.sentences, packing.length, ctx.heads, -1)
        return (
            by_position.transpose(1, 2).reshape(packing.sentences * ctx.heads, packing.length, -1),
            None,
            None,
        )


def to_heads(x: Tensor, packing: Packing, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Split projections that lie side by side into heads.

    `x` [rows, parts * heads * head_dim] becomes `parts` tensors [sentences * heads, length, head_dim].
    """
    return _ToHeads.apply(x, packing, parts, heads)


def from_heads(x: Tensor, packing: Packing, heads: int) -> Tensor:
    """Join heads: [sentences * heads, length, head_dim] to [rows, heads * head_dim]."""
    return _FromHeads.apply(x, packing, heads)


def attend(queries: Tensor, keys: Tensor, values: Tensor, hidden: Tensor | None, p: float) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1) [n, length, head_dim].

    `queries`: [n, length, head_dim]; `keys`, `values`: [n, memory length, head_dim]. `hidden`: added to
    the scores [n, length, memory length], minus infinity at hidden positions, or None. `p`: dropout of
    the attention weights. The softmax is computed in single precision.
    """
    scale = queries.shape[-1] ** -0.5
    beta = 0 if hidden is None else 1
    scores = torch.baddbmm(
        queries.new_zeros(1) if hidden is None else hidden,
        queries,
        keys.transpose(1, 2),
        beta=beta,
        alpha=scale,
    )
    weights = softmax(scores.float()).to(values.dtype)
    return torch.bmm(dropout(weights, p), values)


class _ShortSoftmax(torch.autograd.Function):
    """Softmax over a last dimension that is shorter than a vector register."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        probabilities = (x - x.amax(-1, keepdim=True)).exp_()
        probabilities /= probabilities.sum(-1, keepdim=True)
        ctx.save_for_backward(probabilities)
        return probabilities

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (probabilities,) = ctx.saved_tensors
        weighted = gradient * probabilities
        return weighted.addcmul_(probabilities, weighted.sum(-1, keepdim=True), value=-1)


def softmax(x: Tensor) -> Tensor:
    """Softmax over the last dimension, in single precision."""
    return _ShortSoftmax.apply(x) if x.shape[-1] < _VECTOR else torch.softmax(x, -1)
