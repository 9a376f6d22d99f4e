"""The speed-ups compute what fairseq computes."""

from __future__ import annotations

import copy
import subprocess
import sys

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq import utils
from fairseq.data import Dictionary, LanguagePairDataset
from fairseq.models import BaseFairseqModel
from fairseq.modules import FairseqDropout, MultiheadAttention
from fairseq.optim import FairseqOptimizer
from fairseq.optim.adam import Adam

from nmtprune.fairseq_bridge import speedups

SHAPES = [(7, 5), (5,), (3, 2, 4), (1,)]
EXCHANGED = (
    (Adam, "step"),
    (FairseqDropout, "forward"),
    (utils, "softmax"),
    (MultiheadAttention, "forward"),
    (FairseqOptimizer, "zero_grad"),
    (FairseqOptimizer, "multiply_grads"),
    (FairseqOptimizer, "clip_grad_norm"),
    (BaseFairseqModel, "train"),
    (BaseFairseqModel, "set_num_updates"),
    (LanguagePairDataset, "collater"),
)


@pytest.fixture
def plain_adam_step(monkeypatch):
    """Every speed-up, undone after the test; gives fairseq's own Adam step."""
    plain = Adam.step
    for owner, name in EXCHANGED:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    speedups.apply.__wrapped__()
    return plain


@pytest.fixture
def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def give_gradients(parameters, seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    for p in parameters:
        p.grad = (scale * torch.randn(p.shape, generator=generator)).to(p.dtype)


def updated(parameters, step, optimizer_state=None, updates=range(8), **options):
    own = copy.deepcopy(parameters)
    optimizer = Adam(own, lr=0.01, betas=(0.9, 0.98), **options)
    if optimizer_state is not None:
        optimizer.load_state_dict(copy.deepcopy(optimizer_state))
    for update in updates:
        give_gradients(own, update, scale=1e-3)
        if update % 3 == 2:
            own[1].grad = None  # a parameter that took no part in this update
        step(optimizer)
    return own, optimizer.state_dict()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
def test_adam_takes_fairseqs_steps(plain_adam_step, parameters, weight_decay, eps):
    expected, expected_state = updated(parameters, plain_adam_step, eps=eps, weight_decay=weight_decay)
    ours, state = updated(parameters, Adam.step, eps=eps, weight_decay=weight_decay)
    torch.testing.assert_close([p.data for p in ours], [p.data for p in expected], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state, expected_state, rtol=1e-5, atol=1e-9)
    assert [s["step"] for s in state["state"].values()] == [8, 6, 8, 8]


@pytest.mark.parametrize("first, then", [("plain", "fast"), ("fast", "plain"), ("fast", "fast")])
def test_adam_resumes_from_fairseqs_state_and_back(plain_adam_step, parameters, first, then):
    steps = {"plain": plain_adam_step, "fast": Adam.step}
    whole, _ = updated(parameters, steps["plain"])
    half, state = updated(parameters, steps[first], updates=range(4))
    resumed, _ = updated(half, steps[then], state, updates=range(4, 8))
    torch.testing.assert_close([p.data for p in resumed], [p.data for p in whole], rtol=1e-5, atol=1e-7)


def test_adam_leaves_half_precision_parameters_to_fairseq(plain_adam_step, parameters):
    halves = [torch.nn.Parameter(p.detach().half()) for p in parameters]
    expected, _ = updated(halves, plain_adam_step)
    ours, state = updated(halves, Adam.step)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    assert state["state"][0]["exp_avg"].dtype == torch.float32


def test_adam_heeds_strides(plain_adam_step):
    weights = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for step in (plain_adam_step, Adam.step):
        view = torch.nn.Parameter(
            weights.clone()[:, ::2]
        )  # a sliced matrix that shares the whole one's memory
        transposed = torch.nn.Parameter(weights.clone().t())
        optimizer = Adam([view, transposed], lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            (view.sin().sum() + (transposed @ weights).cos().sum()).backward()
            step(optimizer)
        results.append([view.data, transposed.data])
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("plain_adam_step")
def test_masked_weights_stay_zero_under_the_fused_step(parameters):
    parameters[0].data[:, 2] = 0
    optimizer = Adam(parameters, lr=0.01, weight_decay=0.1)
    for update in range(5):
        give_gradients(parameters, update)
        parameters[0].grad[:, 2] = 0
        optimizer.step()
    assert (parameters[0][:, 2] == 0).all()
    assert (parameters[0][:, :2] != 0).all()


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.usefixtures("plain_adam_step")
def test_dropout_keeps_its_share_and_its_expectation(p):
    torch.manual_seed(0)
    x = torch.full((1001, 333), 2.0, requires_grad=True)
    y = FairseqDropout(p).train()(x)
    y.sum().backward()
    dropped = y == 0
    deviations = (dropped.double().mean() - p) / (p * (1 - p) / x.numel()) ** 0.5
    assert abs(deviations) < 4
    torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 2 / (1 - p)))
    torch.testing.assert_close(x.grad, y.detach() / 2)
    neighbours = (
        (dropped[:, 1:] & dropped[:, :-1]).double().mean()
    )  # the two halves of one draw are independent
    assert neighbours.item() == pytest.approx(p * p, rel=0.05)


@pytest.mark.usefixtures("plain_adam_step")
def test_dropout_repeats_with_the_seed_and_rests_in_evaluation():
    dropout, x = FairseqDropout(0.3), torch.ones(40, 7)
    first, second, again = (torch.manual_seed(seed) and dropout.train()(x) for seed in (1, 2, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert dropout.eval()(x) is x


@pytest.mark.parametrize("keys", [1, 7, 15, 16, 40])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_pytorchs(keys, causal, plain_adam_step, monkeypatch):
    torch.manual_seed(0)
    attention = MultiheadAttention(8, 2, self_attention=True).train()
    queries = torch.randn(keys, 3, 8, requires_grad=True)
    padding = torch.arange(keys).expand(3, keys) < torch.tensor([[0], [keys // 2], [keys - 1]])
    future = torch.full((keys, keys), -torch.inf).triu(1) if causal else None
    masks = {"attn_mask": future} if causal else {"key_padding_mask": padding}
    results = []
    for undone in (False, True):
        if undone:
            monkeypatch.undo()
            attention.skip_embed_dim_check = False
        queries.grad = None
        attended, _ = attention(queries, queries, queries, need_weights=False, **masks)
        attended.square().sum().backward()
        results.append((attended.detach(), queries.grad))
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_norm", [0.0, 0.01, 1e6])
def test_gradients_are_scaled_and_clipped_as_by_fairseq(max_norm, plain_adam_step, parameters, monkeypatch):
    class Optimizer(FairseqOptimizer):
        params = parameters

    optimizer = Optimizer(None)
    results = []
    for undone in (False, True):
        if undone:
            monkeypatch.undo()
        give_gradients(parameters, 0)
        parameters[2].grad = None
        optimizer.multiply_grads(1 / 3)
        norm = optimizer.clip_grad_norm(max_norm)
        results.append((norm, [p.grad for p in parameters if p.grad is not None]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-6, atol=0)


def test_applying_twice_is_applying_once():
    program = (
        "from nmtprune.fairseq_bridge import speedups; from fairseq.optim.adam import Adam; plain = "
        "Adam.step; "
        "speedups.apply(); once = Adam.step; speedups.apply(); assert Adam.step is once is not plain"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_no_optimiser_starts_the_compiler():
    code = (
        "import sys, torch; from nmtprune.fairseq_bridge import speedups; speedups.apply(); from "
        "fairseq.optim.adam import Adam; "
        "p = torch.nn.Parameter(torch.ones(2)); own = Adam([p]); own.zero_grad(); p.sum().backward(); "
        "own.step(); "
        "own.load_state_dict(own.state_dict()); assert torch.allclose(p, torch.tensor(0.999)); assert "
        "'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.usefixtures("plain_adam_step")
def test_the_batches_of_a_small_corpus_are_formed_once(monkeypatch):
    def dataset(lengths):
        dictionary = Dictionary()
        lines = [torch.full((length,), dictionary.unk()) for length in lengths]
        return LanguagePairDataset(lines, lengths, dictionary, lines, lengths, dictionary)

    corpus = dataset([3, 5, 4])
    plain = corpus.collater([corpus[0], corpus[2]])
    kept = corpus.collater(corpus.__getitems__([0, 2]))
    torch.testing.assert_close(kept, plain)
    assert corpus.collater(corpus.__getitems__([0, 2])) is kept
    assert corpus.collater(corpus.__getitems__([2, 0])) is not kept
    monkeypatch.setattr(speedups, "_TOKENS_KEPT", 10)
    large = dataset([30, 30])
    assert isinstance(large.__getitems__([0, 1]), list)
    torch.testing.assert_close(
        large.collater(large.__getitems__([0, 1])), large.collater([large[0], large[1]])
    )


@pytest.mark.usefixtures("plain_adam_step")
def test_modules_that_count_updates_are_told():
    class Counting(torch.nn.Module):
        def set_num_updates(self, updates):
            self.updates = updates

    model = BaseFairseqModel()
    model.part = Counting()
    for update in (1, 2):
        model.set_num_updates(update)
        assert model.part.updates == update
