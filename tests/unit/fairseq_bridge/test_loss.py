"""The in-place loss equals fairseq's: value, gradient, logging."""

from __future__ import annotations

from types import SimpleNamespace

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss
from hypothesis import given, settings
from hypothesis import strategies as st

from nmtprune.fairseq_bridge import loss as loss_module
from nmtprune.fairseq_bridge.loss import InPlaceCrossEntropy, label_smoothed_cross_entropy
from nmtprune.foundation.errors import UserError

PADDING = 1


def fairseq_loss(logits, target, smoothing, scale=1.0, dtype=None):
    """fairseq's own sums and the gradient of `scale` times the loss."""
    leaf = logits.clone().requires_grad_()
    log_probs = torch.log_softmax(
        leaf, dim=-1, dtype=dtype or torch.promote_types(logits.dtype, torch.float32)
    )
    loss, nll = label_smoothed_nll_loss(log_probs, target, smoothing, ignore_index=PADDING)
    (loss * scale).backward()
    return loss.detach(), nll.detach(), leaf.grad


def our_loss(logits, target, smoothing, scale=1.0):
    leaf = logits.clone().requires_grad_()
    loss, nll = label_smoothed_cross_entropy(leaf * 1, target, smoothing, PADDING)
    (loss * scale).backward()
    return loss.detach(), nll.detach(), leaf.grad


def batch(tokens, types, padded, seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(tokens, types, generator=generator)
    target = torch.randint(2, types, (tokens,), generator=generator)
    target[torch.rand(tokens, generator=generator) < padded] = PADDING
    return logits.to(dtype), target


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.integers(1, 40),
    types=st.integers(3, 90),
    padded=st.sampled_from([0.0, 0.3, 1.0]),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
    scale=st.sampled_from([1.0, 0.25, 128.0]),
    chunk=st.sampled_from([1, 200, 2**17]),
    seed=st.integers(0, 1000),
)
def test_equals_fairseq(tokens, types, padded, smoothing, scale, chunk, seed):
    logits, target = batch(tokens, types, padded, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss_module, "_CPU_CHUNK", chunk)
        ours = our_loss(logits, target, smoothing, scale)
    fairseqs = fairseq_loss(logits, target, smoothing, scale)
    torch.testing.assert_close(ours[0], fairseqs[0], rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(ours[1], fairseqs[1], rtol=2e-6, atol=1e-5)
    torch.testing.assert_close(ours[2], fairseqs[2], rtol=1e-5, atol=1e-6 * scale)
    assert (ours[2][target == PADDING] == 0).all()


def test_gradient_is_the_derivative():
    logits, target = batch(7, 11, 0.3, seed=0, dtype=torch.float64)
    leaf = logits.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: label_smoothed_cross_entropy(x * 1, target, 0.1, PADDING)[0], leaf
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single_and_scaled_before_rounding(dtype):
    logits, target = batch(30, 500, 0.2, seed=1, dtype=dtype)
    scale = 1024.0
    loss, nll, gradient = our_loss(logits, target, 0.1, scale)
    expected_loss, expected_nll, expected_gradient = fairseq_loss(logits, target, 0.1, scale)
    assert loss.dtype == nll.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(nll, expected_nll)
    torch.testing.assert_close(gradient, expected_gradient)


def test_logits_become_their_gradient_without_another_buffer():
    logits, target = batch(30, 50, 0.2, seed=2)
    _, _, expected = fairseq_loss(logits, target, 0.1)
    product = logits.clone().requires_grad_() * 1
    address = product.data_ptr()
    product.retain_grad()
    label_smoothed_cross_entropy(product, target, 0.1, PADDING)[0].backward()
    torch.testing.assert_close(product.detach(), expected)
    assert product.data_ptr() == address


def test_second_backward_pass_is_refused():
    logits, target = batch(5, 9, 0.0, seed=3)
    loss, _ = label_smoothed_cross_entropy(logits.requires_grad_() * 1, target, 0.1, PADDING)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace operation"):
        loss.backward()


def test_evaluation_leaves_logits_alone():
    logits, target = batch(12, 20, 0.2, seed=4)
    before = logits.clone()
    with torch.no_grad():
        loss, nll = label_smoothed_cross_entropy(logits, target, 0.1, PADDING)
    expected_loss, expected_nll, _ = fairseq_loss(before, target, 0.1)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(nll, expected_nll)
    assert torch.equal(logits, before)


def test_dummy_batches_of_distributed_training_give_zero_gradient():
    logits, target = batch(6, 9, 0.0, seed=5)
    leaf = logits.requires_grad_()
    loss, _ = label_smoothed_cross_entropy(leaf * 1, target, 0.1, PADDING)
    loss *= 0  # what fairseq's task does with such a batch
    loss.backward()
    assert torch.equal(leaf.grad, torch.zeros(6, 9))


class Projection(torch.nn.Module):
    """A model in fairseq's form whose decoder is one linear layer."""

    def __init__(self, adaptive_softmax=None):
        super().__init__()
        self.linear = torch.nn.Linear(8, 30)
        self.decoder = SimpleNamespace(adaptive_softmax=adaptive_softmax)

    def forward(self, features):
        return self.linear(features), None

    def get_targets(self, sample, net_output):
        return sample["target"]

    def get_normalized_probs(self, net_output, log_probs):
        return torch.log_softmax(net_output[0], dim=-1)


@pytest.fixture
def task():
    return SimpleNamespace(target_dictionary=SimpleNamespace(pad=lambda: PADDING))


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(6)
    target = torch.randint(2, 30, (3, 5), generator=generator)
    target[0, 3:] = PADDING
    return {
        "net_input": {"features": torch.randn(3, 5, 8, generator=generator)},
        "target": target,
        "ntokens": int((target != PADDING).sum()),
    }


@pytest.mark.parametrize("sentence_avg", [False, True])
def test_criterion_logs_what_fairseqs_logs(task, sample, sentence_avg):
    torch.manual_seed(0)
    model = Projection()
    ours = InPlaceCrossEntropy(task, sentence_avg, 0.1)
    (fairseqs,) = InPlaceCrossEntropy.__bases__
    results = []
    for criterion in (ours, fairseqs(task, sentence_avg, 0.1)):
        model.zero_grad()
        loss, sample_size, logged = criterion(model, sample)
        loss.backward()
        results.append((loss.detach(), model.linear.weight.grad, sample_size, logged))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-6)
    assert results[0][2] == (3 if sentence_avg else 13)


def test_adaptive_softmax_is_refused(task, sample):
    criterion = InPlaceCrossEntropy(task, False, 0.1)
    with pytest.raises(UserError, match="adaptive_softmax_cutoff"):
        criterion(Projection(adaptive_softmax=object()), sample)
