"""Make fairseq's training step faster on a CPU; results change by float rounding only.

Call `apply()` once, after importing the shim and before building a trainer. The largest other gains come
from the criterion in `loss` and the forward pass in `packed`.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq import utils
from fairseq.data import LanguagePairDataset
from fairseq.models import BaseFairseqModel
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import Adam
from torch import Tensor

from nmtprune.fairseq_bridge.attention import softmax
from nmtprune.fairseq_bridge.dropout import dropout, rate
from nmtprune.foundation.known import known

_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_M_MMAP_MAX = -4
_TOKENS_KEPT = 10_000_000  # most tokens of batches that are kept, 8 bytes each


@functools.cache
def apply() -> None:
    """Apply every speed-up to this process; a second call changes nothing."""
    _keep_freed_memory()
    _fused_adam()
    _fast_dropout()
    _plain_attention()
    _gradients_together()
    _batches_formed_once()
    _little_bookkeeping()
    _no_compiler()


def _keep_freed_memory() -> None:
    """Reuse the pages of freed tensors.

    By default, the kernel maps and zeroes new pages for each large tensor. Safe because it only tells
    glibc's allocator to keep its memory. Without `mallopt` nothing is done.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _fused_adam() -> None:
    """Use PyTorch's fused AdamW kernel for the step of fairseq's Adam, which loops over parameters in Python.

    Safe because both are AdamW and the state keeps fairseq's form, so either can resume from the other.
    They differ in epsilon, which fairseq adds before the bias correction of the second moment; here
    epsilon is divided by that correction.
    """
    plain_step = Adam.step

    def fits_kernel(p: torch.nn.Parameter) -> bool:
        # The kernel ignores strides.
        grad = known(p.grad)
        single = p.dtype == grad.dtype == torch.float32
        return single and not grad.is_sparse and p.is_contiguous() and grad.is_contiguous()

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
                torch._fused_adamw_(  # pyright: ignore[reportPrivateImportUsage]
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


def _fast_dropout() -> None:
    """Draw dropout masks on the CPU from raw random bits.

    Safe because each element is dropped independently with probability p (to 2^-16) by PyTorch's seeded
    generator. For the same seed, the masks differ from those of stock fairseq.
    """
    plain_forward = FairseqDropout.forward

    def forward(self: Any, x: Tensor, inplace: bool = False) -> Tensor:
        p = rate(self)
        return plain_forward(self, x, inplace) if x.is_cuda or not 0 < p < 1 else dropout(x, p)

    FairseqDropout.forward = forward


def _plain_attention() -> None:
    """Compute attention with few large operations on the CPU, wherever a model's own forward pass is used.

    Safe because the sums are the same: fairseq's own implementation of attention is used instead of
    PyTorch's, with another softmax for short rows.
    """
    plain_softmax, plain_forward = utils.softmax, MultiheadAttention.forward

    def fast_softmax(x: Tensor, dim: int, onnx_trace: bool = False) -> Tensor:
        fast = dim == -1 and x.dtype == torch.float32 and not x.is_cuda
        return softmax(x) if fast else plain_softmax(x, dim, onnx_trace)

    def forward(self: Any, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        # where the check of dimensions is skipped, fairseq computes attention itself, without PyTorch's fused
        # kernel
        self.skip_embed_dim_check = not query.is_cuda
        return plain_forward(self, query, *args, **kwargs)

    utils.softmax = fast_softmax
    MultiheadAttention.forward = forward


def _gradients_together() -> None:
    """Clear, scale and clip all gradients at once; fairseq loops over parameters in Python."""

    def gradients(self: Any) -> list[Tensor]:
        return [p.grad for p in self.params if p.grad is not None]

    def zero_grad(self: Any) -> None:
        for p in self.params:
            p.grad = None

    def multiply_grads(self: Any, c: Any) -> None:
        if own := gradients(self):
            torch._foreach_mul_(own, c.to(own[0].device) if torch.is_tensor(c) else c)  # pyright: ignore[reportPrivateImportUsage]

    def clip_grad_norm(self: Any, max_norm: float, aggregate_norm_fn: Callable | None = None) -> Tensor:
        own = gradients(self)
        if not own or own[0].dtype != torch.float32:
            return utils.clip_grad_norm_(self.params, max_norm, aggregate_norm_fn)
        norm = torch.stack(torch._foreach_norm(own)).norm()  # pyright: ignore[reportPrivateImportUsage]
        if aggregate_norm_fn is not None:
            norm = aggregate_norm_fn(norm)
        if max_norm > 0:
            torch._foreach_mul_(own, (max_norm / (norm + 1e-6)).clamp_(max=1))  # pyright: ignore[reportPrivateImportUsage]
        return norm

    FairseqOptimizer.zero_grad = zero_grad
    FairseqOptimizer.multiply_grads = multiply_grads
    FairseqOptimizer.clip_grad_norm = clip_grad_norm


def _batches_formed_once() -> None:
    """Keep the batches of a small corpus, which are the same in every epoch.

    Safe because only the order of batches differs between epochs, and nothing modifies a batch.
    PyTorch's loader asks a dataset that has `__getitems__` for a whole batch, and passes the result
    through the collater.
    """
    plain_collater = LanguagePairDataset.collater

    def batch(self: Any, indices: list[int]) -> Any:
        if "batches" not in self.__dict__:
            # the target counts twice: as input and as output
            tokens = int(self.src_sizes.sum()) + 2 * int(self.tgt_sizes.sum())
            self.batches = {} if tokens <= _TOKENS_KEPT else None
        if self.batches is None:
            return [self[index] for index in indices]
        key = tuple(indices)
        if key not in self.batches:
            self.batches[key] = plain_collater(self, [self[index] for index in indices])
        return self.batches[key]

    def collater(self: Any, samples: Any, pad_to_length: Any = None) -> Any:
        return samples if isinstance(samples, dict) else plain_collater(self, samples, pad_to_length)

    LanguagePairDataset.__getitems__ = batch
    LanguagePairDataset.collater = collater


def _little_bookkeeping() -> None:
    """Skip work that has no effect but is repeated in every update."""
    plain_train = BaseFairseqModel.train
    counting = WeakKeyDictionary()  # for each model, its modules that are told the number of updates

    def train(self: Any, mode: bool = True) -> Any:
        return self if self.training == mode else plain_train(self, mode)

    def set_num_updates(self: Any, num_updates: int) -> None:
        if self not in counting:
            counting[self] = [
                module
                for module in self.modules()
                if module is not self and hasattr(module, "set_num_updates")
            ]
        for module in counting[self]:
            module.set_num_updates(num_updates)

    BaseFairseqModel.set_num_updates = set_num_updates
    BaseFairseqModel.train = train


def _no_compiler() -> None:
    """Avoid importing PyTorch's compiler, which takes three seconds of each start.

    Optimisers import it to exclude themselves from compilation. Safe because nothing is compiled here.
    Each method is marked as already excluded.
    """
    for name in ("add_param_group", "load_state_dict", "state_dict", "zero_grad"):
        method = getattr(torch.optim.Optimizer, name).__wrapped__
        method.__dynamo_disable = method
