"""Label-smoothed cross entropy that turns the logits into their own gradient.

fairseq's criterion keeps several buffers of tokens x vocabulary between forward and backward; reading and writing them
takes up to a fifth of a small model's training. Here the forward pass overwrites the logits with the gradient, a few
rows at a time so that they stay in the cache, and the backward pass only scales it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import nmtprune.toolkit.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass import FairseqDataclass
from omegaconf import II
from torch import Tensor

from nmtprune.errors import UserError

# Elements worked on at a time: what a core's cache holds, and enough to fill a GPU.
_CPU_CHUNK = 2**17
_GPU_CHUNK = 2**25


class _LabelSmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, smoothing: float, padding: int) -> tuple[Tensor, Tensor]:
        types = logits.shape[-1]
        smoothing_per_type = smoothing / (types - 1)
        on_target = 1.0 - smoothing - smoothing_per_type
        needs_gradient = ctx.needs_input_grad[0]
        precision = torch.promote_types(logits.dtype, torch.float32)
        # Half-precision logits get a gradient in single precision, so that the loss scale is applied before rounding.
        gradient = logits if logits.dtype == precision else torch.empty_like(logits, dtype=precision)

        loss = logits.new_zeros((), dtype=precision)
        nll = logits.new_zeros((), dtype=precision)
        rows = max(1, (_GPU_CHUNK if logits.is_cuda else _CPU_CHUNK) // types)
        for start in range(0, len(logits), rows):
            chunk = slice(start, start + rows)
            index = target[chunk, None]
            counts = index != padding
            probabilities = torch.softmax(logits[chunk], dim=-1, dtype=precision)
            # One pass of exponentials is enough: the largest logit and its probability give the partition sum.
            log_sum = logits[chunk].amax(1, keepdim=True) - probabilities.amax(1, keepdim=True).log_()
            target_nll = (log_sum - logits[chunk].gather(1, index)).mul_(counts).sum()
            nll += target_nll
            loss += on_target * target_nll
            if smoothing:
                log_probs = logits[chunk].sum(1, keepdim=True, dtype=precision) - types * log_sum
                loss -= smoothing_per_type * log_probs.mul_(counts).sum()
            if needs_gradient:
                # d loss / d logit = probability - smoothed target, since the smoothed target sums to one
                torch.sub(probabilities, smoothing_per_type, out=gradient[chunk])
                gradient[chunk].scatter_add_(1, index, index.new_full((), -on_target, dtype=precision).expand_as(index))
                gradient[chunk].mul_(counts)
        if needs_gradient:
            ctx.save_for_backward(gradient)
            ctx.dtype = logits.dtype
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        if loss_gradient.is_cuda or loss_gradient != 1:  # asking a GPU would wait for it
            gradient.mul_(loss_gradient)
        return gradient.to(ctx.dtype), None, None, None


def label_smoothed_cross_entropy(logits: Tensor, target: Tensor, smoothing: float, padding: int) -> tuple[Tensor, Tensor]:
    """Sums over all tokens, in nats: label-smoothed cross entropy and negative log-likelihood (without gradient).

    Single-precision `logits` (tokens x types) that need a gradient are overwritten by it, so the backward pass can run
    only once. Half-precision logits are computed with in single precision. `target` (tokens) holds types; tokens whose
    target is `padding` count nothing. As in fairseq, each wrong type gets `smoothing` / (types - 1) of the target.
    """
    return _LabelSmoothedCrossEntropy.apply(logits, target, smoothing, padding)


@dataclass
class InPlaceCrossEntropyConfig(FairseqDataclass):
    label_smoothing: float = field(default=0.0, metadata={"help": "share of the target given to the other types"})
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("nmtprune_label_smoothed_cross_entropy", dataclass=InPlaceCrossEntropyConfig)
class InPlaceCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """fairseq's `label_smoothed_cross_entropy`, equal within float error, with the same logging outputs and metrics."""

    def __init__(self, task: Any, sentence_avg: bool, label_smoothing: float) -> None:
        super().__init__(task, sentence_avg, label_smoothing)
        self.penalty: Callable[[int], Tensor] | None = None

    def forward(self, model: Any, sample: dict, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """As fairseq's. In training what `penalty` gives for the batch's number of target tokens is added to the sum that gradients are
        taken of; the losses that are logged are without it."""
        loss, sample_size, log = super().forward(model, sample, reduce)
        if self.penalty is not None and model.training:
            loss = loss + self.penalty(sample["ntokens"])
        return loss, sample_size, log

    def compute_loss(self, model: Any, net_output: Any, sample: dict, reduce: bool = True) -> tuple[Tensor, Tensor]:
        """Loss and negative log-likelihood of a batch. The model's logits are overwritten.

        Raises UserError for a model with an adaptive softmax, whose output is not one logit per type.
        """
        if getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None:
            raise UserError("adaptive_softmax_cutoff: nmtprune_label_smoothed_cross_entropy needs one logit per type; remove that setting")
        if not reduce:
            raise ValueError("this criterion only gives sums over a batch")
        logits = net_output[0]
        target = model.get_targets(sample, net_output)
        return label_smoothed_cross_entropy(logits.view(-1, logits.shape[-1]), target.reshape(-1), self.eps, self.padding_idx)
