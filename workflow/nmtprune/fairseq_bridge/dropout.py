"""Dropout on a CPU from raw random bits, since PyTorch's Bernoulli generator is slower than a layer norm."""

from __future__ import annotations

from typing import Any

import torch
from fairseq.modules import FairseqDropout
from torch import Tensor

_BITS = 16  # bits of each draw; a 64-bit random number gives four draws


def _scale(like: Tensor, p: float) -> Tensor:
    """The factors of dropout, in the shape of `like` and single precision.

    A factor is 0 with probability p (to 2^-16), and 1 / (1 - p) otherwise.
    """
    precision = torch.promote_types(like.dtype, torch.float32)
    threshold = round(p * 2**_BITS) - 2 ** (_BITS - 1)
    if threshold > torch.iinfo(torch.int16).max:
        return like.new_zeros(like.shape, dtype=precision)
    draws = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    return draws[: like.numel()].view(like.shape).ge_(threshold).to(precision).mul_(1 / (1 - p))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        scale = _scale(x, p)
        ctx.save_for_backward(scale)
        return (x * scale).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return (gradient * scale).to(gradient.dtype), None


class _DroppedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, p: float) -> Tensor:
        scale = _scale(residual, p)
        ctx.save_for_backward(scale)
        ctx.dtype = x.dtype
        return torch.addcmul(residual, x.to(residual.dtype), scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradient, (gradient * scale).to(ctx.dtype), None


def rate(module: FairseqDropout) -> float:
    """The current rate of a dropout module, which is 0 outside training."""
    return module.p if module.training or module.apply_during_inference else 0.0


def dropout(x: Tensor, p: float) -> Tensor:
    """`x` with each element zero with probability `p` < 1 and the others scaled by 1 / (1 - p)."""
    return _Dropout.apply(x, p) if p else x


def dropped_sum(residual: Tensor, x: Tensor, p: float) -> Tensor:
    """`residual` + dropout(`x`), in the precision of `residual`."""
    return _DroppedSum.apply(residual, x, p) if p else residual + x
