"""The forward pass over tokens only equals the model's own: loss, gradients, likelihoods."""

from types import SimpleNamespace

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq import models, options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from nmtprune.experiment.architecture import Architecture
from nmtprune.fairseq_bridge import arguments, packed
from nmtprune.fairseq_bridge.attention import ROWS, Packing, from_heads, to_heads
from nmtprune.fairseq_bridge.dropout import dropout, dropped_sum
from nmtprune.fairseq_bridge.loss import InPlaceCrossEntropy

SMALL = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "embed_dim": 16,
    "ffn_dim": 24,
    "heads": 2,
    "dropout": 0,
    "share_embeddings": "all",
}
SHAPE = (
    '{"encoder": [{"ffn": 5}, {"self": 0, "ffn": 0}],'
    ' "decoder": [{"self": 1, "cross": 2}, {"self": 2, "cross": 0, "ffn": 3}]}'
)
MODELS = {
    "post-norm": {"name": "transformer"},
    "pre-norm, embeddings apart": {"name": "transformer", "norm": "pre", "share_embeddings": "none"},
    "SSRU": {"name": "nmtprune_transformer", "decoder_self": "ssru"},
    "tied layers, pre-norm": {"name": "nmtprune_transformer", "tied_decoder_layers": True, "norm": "pre"},
    "LSTM": {"name": "nmtprune_lstm", "init_scale": 0.5},
    "LSTM without attention": {
        "name": "nmtprune_lstm",
        "init_scale": 0.5,
        "attention": "none",
        "share_embeddings": "none",
    },
    "sliced": {"name": "nmtprune_transformer", "head_dim": 8},
    "Marian's options": {
        "name": "nmtprune_transformer",
        "flags": [
            *("--positions", "marian", "--activation-fn", "swish"),
            *("--start-with-padding", "--output-bias", "--no-scale-embedding"),
        ],
    },
}


@pytest.fixture(scope="module")
def dictionary():
    dictionary = Dictionary()
    for index in range(40):
        dictionary.add_symbol(f"w{index}")
    return dictionary


def build(dictionary, shape=None, flags=(), **architecture):
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary, cfg=None)
    stated = Architecture.over(SMALL | architecture)
    argv = ["data", *arguments.of_architecture(stated), *(["--shape", shape] if shape else []), *flags]
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    )
    torch.manual_seed(1)
    model = models.build_model(cfg.model, task)
    for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith("bias"):  # zero at first, which hides mistakes
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def batch(dictionary, padded=True):
    """Sources padded on the left, targets on the right, as fairseq collates them."""
    generator = torch.Generator().manual_seed(2)
    lengths = [(5, 3), (2, 7), (5, 1)] if padded else [(5, 7)] * 3
    longest = [max(side) for side in zip(*lengths, strict=True)]
    source, target = (torch.full((3, length), dictionary.pad()) for length in longest)
    for row, (source_length, target_length) in enumerate(lengths):
        source[row, longest[0] - source_length :] = torch.randint(
            4, 44, (source_length,), generator=generator
        )
        target[row, :target_length] = torch.randint(4, 44, (target_length,), generator=generator)
    shifted = torch.cat([torch.full((3, 1), dictionary.eos()), target[:, :-1]], dim=1)
    shifted.masked_fill_(target == dictionary.pad(), dictionary.pad())
    inputs = {"src_tokens": source, "src_lengths": None, "prev_output_tokens": shifted}
    return {"net_input": inputs, "target": target, "ntokens": int((target != dictionary.pad()).sum())}


def loss_and_gradients(model, sample, dictionary, monkeypatch, own_forward):
    task = SimpleNamespace(target_dictionary=dictionary)
    if own_forward:
        monkeypatch.setattr(packed, "supports", lambda model: False)
    model.zero_grad()
    loss, sample_size, logged = InPlaceCrossEntropy(task, False, 0.1)(model, sample)
    loss.backward()
    monkeypatch.undo()
    gradients = {
        name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    return loss.detach(), gradients, sample_size, logged


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "of one length"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_and_its_gradients_are_those_of_the_models_own_forward_pass(
    kind, padded, dictionary, monkeypatch
):
    model = build(dictionary, SHAPE if kind == "sliced" else None, **MODELS[kind]).train()
    assert packed.supports(model)
    sample = batch(dictionary, padded)
    ours = loss_and_gradients(model, sample, dictionary, monkeypatch, own_forward=False)
    own = loss_and_gradients(model, sample, dictionary, monkeypatch, own_forward=True)
    torch.testing.assert_close(ours, own, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["pre-norm, embeddings apart", "SSRU", "LSTM"])
def test_in_mixed_precision_more_padding_changes_nothing(kind, dictionary, monkeypatch):
    """Sums equal those of single precision up to bfloat16 rounding.

    The batch has lengths of 5 and 7, and 11 target tokens.
    """
    sums, shapes = [], []
    plain = packed.features
    monkeypatch.setattr(
        packed,
        "features",
        lambda *given: shapes.append([each.shape[1] for each in given[1:]]) or plain(*given),
    )
    for mixed in (False, True):
        model = build(dictionary, **MODELS[kind]).train()
        criterion = InPlaceCrossEntropy(SimpleNamespace(target_dictionary=dictionary), False, 0.1)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, _, _ = criterion(model, batch(dictionary))
        loss.backward()
        gradients = torch.cat(
            [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
        )
        sums.append((loss.detach(), gradients))
    assert shapes == [[5, 7], [5, 7] if kind == "LSTM" else [8, 8]]
    (loss, gradients), (mixed_loss, mixed_gradients) = sums
    assert mixed_loss.item() == pytest.approx(loss.item(), rel=2e-3)
    assert (mixed_gradients - gradients).norm() < 0.02 * gradients.norm()


def test_layer_drop_leaves_out_the_same_sub_layers(dictionary, monkeypatch):
    model = build(dictionary, name="nmtprune_transformer", sub_layer_drop=0.5).train()
    losses = []
    for own_forward in (False, True):
        torch.manual_seed(7)
        losses.append(loss_and_gradients(model, batch(dictionary), dictionary, monkeypatch, own_forward))
    torch.testing.assert_close(*losses, rtol=2e-5, atol=2e-6)


def test_a_validation_has_no_dropout_and_no_gradient(dictionary, monkeypatch):
    model = build(dictionary, name="transformer", dropout=0.5).eval()
    criterion = InPlaceCrossEntropy(SimpleNamespace(target_dictionary=dictionary), False, 0.1)
    with torch.no_grad():
        ours = criterion(model, batch(dictionary))[2]
        monkeypatch.setattr(packed, "supports", lambda model: False)
        own = criterion(model, batch(dictionary))[2]
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)


def test_dropout_falls_on_every_sub_layer_and_on_attention(dictionary, monkeypatch):
    model = build(
        dictionary, name="transformer", dropout=0.3, attention_dropout=0.3, activation_dropout=0.3
    ).train()
    rates = []
    for name in ("dropout", "dropped_sum"):
        plain = getattr(packed, name)
        monkeypatch.setattr(
            packed, name, lambda *given, plain=plain: rates.append(given[-1]) or plain(*given)
        )
    source, target = (
        batch(dictionary)["net_input"]["src_tokens"],
        batch(dictionary)["net_input"]["prev_output_tokens"],
    )
    packed.features(model, source, target)
    # embeddings of two sides; four feed-forward activations; residual sums of 2 * 2 and 2 * 3 sub-layers
    assert rates == [pytest.approx(0.3)] * (2 + 4 + 4 + 6)


@pytest.mark.parametrize("extra", ["--layernorm-embedding", "--cross-self-attention"])
def test_a_transformer_with_extras_is_left_to_its_own_forward_pass(extra, dictionary):
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    argv = ["data", *arguments.of_architecture(Architecture.over(SMALL | {"name": "transformer"})), extra]
    cfg = convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    )
    assert not packed.supports(models.build_model(cfg.model, task))


def rows_of(packing, *shape):
    """Random rows as packing makes them: zero after the tokens."""
    rows = torch.zeros(packing.rows, *shape, dtype=torch.float64)
    rows[: len(packing.tokens)] = torch.randn(len(packing.tokens), *shape, dtype=torch.float64)
    return rows.requires_grad_()


@pytest.fixture(params=[False, True], ids=["fp32", "mixed precision"])
def mixed(request):
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param):
        yield request.param


def test_padding_comes_and_goes(mixed):
    held = torch.tensor([[False, True, True], [True, True, False]])
    packing = Packing.of(held)
    rows = rows_of(packing, 2)
    padded = packing.pad(rows)
    assert padded.view(2, 3, 2)[~held].eq(0).all()
    assert torch.equal(packing.pack(padded), rows)
    assert Packing.of(torch.ones(2, 3, dtype=torch.bool)).pack(padded) is padded
    assert torch.autograd.gradcheck(packing.pad, rows)
    assert torch.autograd.gradcheck(packing.pack, padded.detach().requires_grad_())


def test_in_mixed_precision_tokens_are_filled_up_to_few_numbers_of_rows():
    with torch.autocast("cpu", torch.bfloat16):
        rows = {Packing.of(torch.arange(500).view(1, -1) < tokens).rows for tokens in range(1, 500)}
        packing = Packing.of(torch.tensor([[False, True, True]]))
    assert rows == set(range(ROWS, 500 + ROWS, ROWS))
    types = packing.pack(torch.tensor([1, 8, 9]), fill=1)
    assert types.tolist() == [8, 9] + [1] * (ROWS - 2)


def test_heads_come_and_go(mixed):
    packing = Packing.of(torch.tensor([[False, True, True], [True, True, True]]))
    x = rows_of(packing, 3 * 2 * 4)
    parts = to_heads(x, packing, 3, 2)
    assert [part.shape for part in parts] == [(4, 3, 4)] * 3  # 2 sentences of 2 heads
    side_by_side = torch.cat([from_heads(part, packing, 2) for part in parts], dim=1)
    assert torch.equal(side_by_side, x)
    assert torch.autograd.gradcheck(lambda y: to_heads(y, packing, 3, 2), x)
    assert torch.autograd.gradcheck(lambda y: from_heads(y, packing, 2), parts[0].detach().requires_grad_())


def test_dropout_keeps_the_mean_and_the_share():
    torch.manual_seed(3)
    x = torch.ones(1000, 1000, requires_grad=True)
    dropped = dropout(x, 0.3)
    kept = dropped != 0
    assert kept.float().mean() == pytest.approx(0.7, abs=0.002)
    assert dropped[kept].unique().tolist() == pytest.approx([1 / 0.7], rel=1e-4)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())


def test_dropout_of_nearly_everything_drops_everything():
    assert torch.equal(dropout(torch.ones(1000), 0.999999), torch.zeros(1000))


def test_dropout_of_half_precision_numbers_is_rounded_once():
    x = torch.rand(1000, dtype=torch.bfloat16)
    dropped = dropout(x, 0.1)
    kept = dropped != 0
    assert dropped.dtype == torch.bfloat16
    assert torch.equal(dropped[kept], (x.float() / 0.9).bfloat16()[kept])


def test_a_sum_under_dropout_is_the_sum_with_what_was_dropped():
    residual, x = torch.randn(50, 8, requires_grad=True), torch.randn(50, 8, requires_grad=True)
    torch.manual_seed(4)
    total = dropped_sum(residual, x, 0.25)
    torch.manual_seed(4)
    torch.testing.assert_close(total, residual + dropout(x, 0.25))
    total.sum().backward()
    assert torch.equal(residual.grad, torch.ones(50, 8))
    assert torch.equal(x.grad != 0, (total - residual).detach() != 0)


def test_a_sum_under_dropout_stays_in_single_precision():
    residual, x = (
        torch.randn(5, 8, requires_grad=True),
        torch.randn(5, 8, dtype=torch.bfloat16, requires_grad=True),
    )
    total = dropped_sum(residual, x, 0.25)
    total.sum().backward()
    assert (total.dtype, residual.grad.dtype, x.grad.dtype) == (torch.float32, torch.float32, torch.bfloat16)


@pytest.mark.parametrize("kind", ["post-norm", "SSRU"])
def test_bfloat16_products_change_the_loss_by_their_rounding_alone(kind, dictionary):
    model = build(dictionary, **MODELS[kind]).train()
    criterion, sample = (
        InPlaceCrossEntropy(SimpleNamespace(target_dictionary=dictionary), False, 0.1),
        batch(dictionary),
    )
    losses = []
    for autocast in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss, _, _ = criterion(model, sample)
            loss.backward()
        losses.append((loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    assert losses[1][0].dtype == torch.float32
    assert all(gradient.dtype == torch.float32 for gradient in losses[1][1].values())
    torch.testing.assert_close(losses[1][0], losses[0][0], rtol=5e-3, atol=0)
    largest = max(float(gradient.abs().max()) for gradient in losses[0][1].values())
    torch.testing.assert_close(losses[1][1], losses[0][1], rtol=0, atol=0.05 * largest)
