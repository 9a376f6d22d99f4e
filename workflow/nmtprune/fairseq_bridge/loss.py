"""Label-smoothed cross entropy that overwrites the logits by their own gradient.

fairseq's criterion keeps several buffers of tokens x vocabulary between forward and backward; reading
and writing them takes up to a fifth of the training time of a small model. Here the logits are
overwritten by their gradient, a few rows at a time so that they stay in the cache. If the output
projection is known, it is included: the logits of some hundred tokens at a time are computed, turned
into the gradient, and used in the two products of the backward pass, so that the logits of a batch never
exist all at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

# isort: split
import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.dataclass import FairseqDataclass
from fairseq.distributed import LegacyDistributedDataParallel, ModuleProxyWrapper
from omegaconf import II
from torch import Tensor
from torch.nn import functional

from nmtprune.fairseq_bridge import packed
from nmtprune.fairseq_bridge.attention import ROWS
from nmtprune.foundation.errors import UserError

# Elements of logits processed at a time: as many as fit a core's cache, and enough to fill a GPU.
_CPU_CHUNK = 2**18
_GPU_CHUNK = 2**25
_PROJECTED = 2**21  # elements of logits computed by one product


def _to_gradient(logits: Tensor, target: Tensor, smoothing: float, padding: int) -> tuple[Tensor, Tensor]:
    """Turn single-precision `logits` [tokens, types] into the gradient of the loss, in place.

    Returns the loss and the negative log-likelihood, summed over tokens.
    """
    types = logits.shape[1]
    smoothing_per_type = smoothing / (types - 1)
    on_target = 1.0 - smoothing - smoothing_per_type
    index = target.unsqueeze(1)
    counts = (index != padding).to(logits.dtype)
    at_target, total = logits.gather(1, index), logits.sum(1, keepdim=True)
    largest = logits.amax(1, keepdim=True)
    partition = logits.sub_(largest).exp_().sum(1, keepdim=True)
    log_partition = largest + partition.log()
    nll = (log_partition - at_target).mul_(counts).sum()
    loss = on_target * nll
    if smoothing:
        loss -= smoothing_per_type * (total - types * log_partition).mul_(counts).sum()
    # d loss / d logit = probability - smoothed target, since the smoothed target sums to one
    logits.mul_(counts / partition)
    if smoothing:
        logits.sub_(counts * smoothing_per_type)
    logits.scatter_add_(1, index, counts * -on_target)
    return loss, nll


def _chunks(length: int, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, length, rows))


def _rows(logits: Tensor) -> int:
    return max(1, (_GPU_CHUNK if logits.is_cuda else _CPU_CHUNK) // logits.shape[1])


class _LabelSmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, target: Tensor, smoothing: float, padding: int
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        precision = torch.promote_types(logits.dtype, torch.float32)
        in_place = needs_gradient and logits.dtype == precision
        # Half-precision logits get a gradient in single precision, so that the loss scale is applied before
        # rounding.
        gradient = torch.empty_like(logits, dtype=precision) if needs_gradient and not in_place else logits
        loss, nll = logits.new_zeros(2, dtype=precision)
        for chunk in _chunks(len(logits), _rows(logits)):
            work = logits[chunk] if in_place else logits[chunk].to(precision, copy=True)
            chunk_loss, chunk_nll = _to_gradient(work, target[chunk], smoothing, padding)
            loss, nll = loss + chunk_loss, nll + chunk_nll
            if gradient is not logits:
                gradient[chunk] = work
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


class _ProjectedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        smoothing_and_padding: tuple[float, int],
    ) -> tuple[Tensor, Tensor]:
        needs_gradient = any(ctx.needs_input_grad)
        feature_gradient, weight_gradient = torch.empty_like(features), torch.zeros_like(weight)
        loss, nll = weight.new_zeros(2)
        for rows in _chunks(len(features), ROWS * max(1, _PROJECTED // len(weight) // ROWS)):
            logits = functional.linear(features[rows], weight, bias)
            for chunk in _chunks(len(logits), _rows(logits)):
                work = logits[chunk].to(weight.dtype)
                chunk_loss, chunk_nll = _to_gradient(work, target[rows][chunk], *smoothing_and_padding)
                loss, nll = loss + chunk_loss, nll + chunk_nll
                if work.dtype != logits.dtype:
                    logits[chunk] = work
            if needs_gradient:
                feature_gradient[rows] = torch.mm(logits, weight)
                if logits.dtype == weight.dtype:
                    weight_gradient.addmm_(logits.t(), features[rows])
                else:
                    weight_gradient += torch.mm(logits.t(), features[rows])
        if needs_gradient:
            ctx.save_for_backward(feature_gradient, weight_gradient)
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, loss_gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors
        if loss_gradient != 1:
            gradients = tuple(gradient.mul_(loss_gradient) for gradient in gradients)
        return *gradients, None, None, None


def label_smoothed_cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float, padding: int
) -> tuple[Tensor, Tensor]:
    """Label-smoothed cross entropy, and negative log-likelihood without gradient, summed over tokens in nats.

    Single-precision `logits` [tokens, types] that need a gradient are overwritten by it, so the backward
    pass can run only once. Half-precision logits are processed in single precision. `target` [tokens]
    holds types; tokens whose target is `padding` are ignored. As in fairseq, each wrong type gets
    `smoothing` / (types - 1) of the target.
    """
    return _LabelSmoothedCrossEntropy.apply(logits, target, smoothing, padding)


def projected_cross_entropy(
    features: Tensor,
    weight: Tensor,
    target: Tensor,
    smoothing: float,
    padding: int,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`label_smoothed_cross_entropy` of the logits `features` @ `weight`.T + `bias`, on a CPU.

    `features`: [rows, d]; `weight`: [types, d]; `bias`: [types], which gets no gradient, or None. Under
    autocast, products are in its precision, and everything else is in single precision, including the
    gradient of the weight. The backward pass can run only once.
    """
    return _ProjectedCrossEntropy.apply(features, weight, bias, target, (smoothing, padding))


@dataclass
class InPlaceCrossEntropyConfig(FairseqDataclass):
    """Options of the criterion, as in fairseq's `label_smoothed_cross_entropy`."""

    label_smoothing: float = field(
        default=0.0, metadata={"help": "share of the target distribution that goes to the other types"}
    )
    sentence_avg: bool = II("optimization.sentence_avg")


@register_criterion("nmtprune_label_smoothed_cross_entropy", dataclass=InPlaceCrossEntropyConfig)
class InPlaceCrossEntropy(LabelSmoothedCrossEntropyCriterion):
    """Replacement for fairseq's `label_smoothed_cross_entropy`, equal up to float rounding.

    Logging outputs and metrics are the same.
    """

    def __init__(self, task: Any, sentence_avg: bool, label_smoothing: float) -> None:
        super().__init__(task, sentence_avg, label_smoothing)
        self.penalty: Callable[[int], Tensor] | None = None

    def forward(self, model: Any, sample: dict, reduce: bool = True) -> tuple[Tensor, int, dict[str, Any]]:
        """See fairseq's criterion.

        In training, `penalty` of the batch's number of target tokens is added to the sum that is
        differentiated; the logged losses do not include it.
        """
        module = _unwrapped(model)
        if packed.supports(module):
            loss, sample_size, log = self._packed(module, sample)
        else:
            loss, sample_size, log = super().forward(model, sample, reduce)
        if self.penalty is not None and model.training:
            loss = loss + self.penalty(sample["ntokens"])
        return loss, sample_size, log

    def _packed(self, model: Any, sample: dict) -> tuple[Tensor, int, dict[str, Any]]:
        """`forward` without penalty for a model that `packed` supports."""
        given = sample["net_input"]
        source, target_input, target = packed.filled_up(
            model, given["src_tokens"], given["prev_output_tokens"], sample["target"]
        )
        features, packing = packed.features(model, source, target_input)
        projection = model.decoder.output_projection
        loss, nll = projected_cross_entropy(
            features,
            projection.weight,
            packing.pack(target.flatten(), self.padding_idx),
            self.eps,
            self.padding_idx,
            projection.bias,
        )
        sample_size = len(target) if self.sentence_avg else sample["ntokens"]
        counts = {"ntokens": sample["ntokens"], "nsentences": len(target), "sample_size": sample_size}
        return loss, sample_size, {"loss": loss.data, "nll_loss": nll.data, **counts}

    def compute_loss(
        self, model: Any, net_output: Any, sample: dict, reduce: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Loss and negative log-likelihood of a batch; overwrites the model's logits.

        Raises UserError for a model with an adaptive softmax, which does not give one logit for each
        type.
        """
        if getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None:
            raise UserError(
                "adaptive_softmax_cutoff: nmtprune_label_smoothed_cross_entropy needs one logit per type; "
                "remove that setting"
            )
        if not reduce:
            raise ValueError("this criterion gives only sums over a batch (reduce=True)")
        logits = net_output[0]
        target = model.get_targets(sample, net_output)
        return label_smoothed_cross_entropy(
            logits.view(-1, logits.shape[-1]), target.reshape(-1), self.eps, self.padding_idx
        )


def _unwrapped(model: Any) -> Any:
    """The model inside fairseq's wrappers for distributed training."""
    while isinstance(model, (LegacyDistributedDataParallel, ModuleProxyWrapper)):
        model = model.module
    return model
