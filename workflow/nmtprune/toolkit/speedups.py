"""Make fairseq's training step faster on a CPU without changing what it computes beyond float rounding.

`apply()` once, after the shim and before a trainer is built. The largest gain beside these is the criterion in `loss`.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import nmtprune.toolkit.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq import utils
from fairseq.models import BaseFairseqModel
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import Adam
from torch import Tensor

_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_M_MMAP_MAX = -4
_VECTOR = 16  # floats in the widest vector register; PyTorch's softmax takes shorter rows one element at a time


@functools.cache
def apply() -> None:
    """Apply every speed-up to this process; a second call changes nothing."""
    _keep_freed_memory()
    _fused_adam()
    _fast_dropout()
    _plain_attention()
    _gradients_together()
    _little_bookkeeping()
    _no_compiler()


def _keep_freed_memory() -> None:
    """Reuse the pages of freed tensors: by default each large tensor has the kernel map and zero its pages anew.

    Safe because it only tells glibc's allocator to keep what it has; where there is no `mallopt` nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _fused_adam() -> None:
    """Let PyTorch's fused AdamW kernel take the step of fairseq's Adam, which loops over parameters in Python.

    Safe because both are AdamW and the state keeps fairseq's form, so either resumes from the other. They differ in
    epsilon, which fairseq adds before the bias correction of the second moment: it is divided by that correction here.
    """
    plain_step = Adam.step

    def fits_kernel(p: torch.nn.Parameter) -> bool:
        # The kernel walks through memory, whatever the strides.
        single = p.dtype == p.grad.dtype == torch.float32
        return single and not p.grad.is_sparse and p.is_contiguous() and p.grad.is_contiguous()

    def step(self: Any, closure: Callable | None = None) -> Any:
        moving = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        amsgrad = any(group["amsgrad"] for group in self.param_groups)
        if closure is not None or amsgrad or not all(map(fits_kernel, moving)):
            return plain_step(self, closure)
        fused_step(self.param_groups, self.state)
        return None

    @torch.no_grad()
    def fused_step(groups: list[dict[str, Any]], states: dict[Tensor, dict[str, Any]]) -> None:
        for group in groups:
            by_step = defaultdict(list)
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = states[p]
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                state["step"] += 1
                by_step[p.device, state["step"]].append(p)
            beta1, beta2 = group["betas"]
            for (device, count), same in by_step.items():
                own = [states[p] for p in same]
                torch._fused_adamw_(
                    same,
                    [p.grad for p in same],
                    [state["exp_avg"] for state in own],
                    [state["exp_avg_sq"] for state in own],
                    [],
                    [torch.tensor(float(count), device=device)] * len(same),
                    lr=group["lr"],
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=group["weight_decay"],
                    eps=group["eps"] / math.sqrt(1 - beta2**count),
                    amsgrad=False,
                    maximize=False,
                )

    Adam.step = step


class _Dropout(torch.autograd.Function):
    """Dropout whose mask comes from two 32-bit draws per 64-bit random number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        draws = torch.empty((x.numel() + 1) // 2, dtype=torch.int64).random_(-(2**63), None).view(torch.int32)
        kept = draws[: x.numel()].view(x.shape).ge_(round(p * 2**32) - 2**31)
        scale = kept.to(x.dtype).mul_(1 / (1 - p))
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return gradient * scale, None


def _fast_dropout() -> None:
    """Draw dropout masks on the CPU from raw random bits; PyTorch's Bernoulli generator takes longer than a layer norm.

    Safe because each element is dropped independently with probability p (to 2^-32) by PyTorch's seeded generator. The
    masks are others than stock fairseq's for the same seed.
    """
    plain_forward = FairseqDropout.forward

    def forward(self: Any, x: Tensor, inplace: bool = False) -> Tensor:
        if x.is_cuda or not 0 < self.p < 1 or not (self.training or self.apply_during_inference):
            return plain_forward(self, x, inplace)
        return _Dropout.apply(x, self.p)

    FairseqDropout.forward = forward


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


def _plain_attention() -> None:
    """Attend with few large operations on the CPU: PyTorch's softmax and fused attention crawl over short sentences.

    Safe because the sums are the same: fairseq's own attention takes the place of PyTorch's, with another softmax in short rows.
    """
    plain_softmax, plain_forward = utils.softmax, MultiheadAttention.forward

    def softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        short = dim == -1 and x.shape[-1] < _VECTOR and x.dtype == torch.float32 and not x.is_cuda
        return _ShortSoftmax.apply(x) if short else plain_softmax(x, dim, onnx_trace)

    def forward(self: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        # fairseq computes attention itself, without PyTorch's fused kernel, wherever the check of dimensions is skipped
        self.skip_embed_dim_check = not query.is_cuda
        return plain_forward(self, query, *args, **kwargs)

    utils.softmax = softmax
    MultiheadAttention.forward = forward


def _gradients_together() -> None:
    """Clear, scale and clip all gradients at once, where fairseq loops over parameters in Python."""

    def gradients(self: Any) -> list[Tensor]:
        return [p.grad for p in self.params if p.grad is not None]

    def zero_grad(self: Any) -> None:
        for p in self.params:
            p.grad = None

    def multiply_grads(self: Any, c: Any) -> None:
        if own := gradients(self):
            torch._foreach_mul_(own, c.to(own[0].device) if torch.is_tensor(c) else c)

    def clip_grad_norm(self: Any, max_norm: float, aggregate_norm_fn: Callable | None = None) -> Tensor:
        own = gradients(self)
        if not own or own[0].dtype != torch.float32:
            return utils.clip_grad_norm_(self.params, max_norm, aggregate_norm_fn)
        norm = torch.stack(torch._foreach_norm(own)).norm()
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            torch._foreach_mul_(own, (max_norm / (norm + 1e-6)).clamp_(max=1))
        return norm

    FairseqOptimizer.zero_grad = zero_grad
    FairseqOptimizer.multiply_grads = multiply_grads
    FairseqOptimizer.clip_grad_norm = clip_grad_norm


def _little_bookkeeping() -> None:
    """Leave out what an update repeats to no effect."""
    plain_train = BaseFairseqModel.train

    def train(self: Any, mode: bool = True) -> Any:
        return self if self.training == mode else plain_train(self, mode)

    BaseFairseqModel.train = train


def _no_compiler() -> None:
    """Leave PyTorch's compiler alone, which an optimiser imports to be left out of what is compiled: three seconds of each start.

    Safe because nothing is compiled here. Each method is told that the compiler has it already.
    """
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        method = getattr(torch.optim.Optimizer, name).__wrapped__
        method.__dynamo_disable = method
