"""The student Transformer: equal to fairseq's own where comparable, its SSRU, tied layers and shapes."""

import copy
import json
import sys

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import build_model
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from hypothesis import given, settings
from hypothesis import strategies as st
from support.workplace import REPOSITORY

from nmtprune.experiment.architecture import Architecture
from nmtprune.experiment.search import Search
from nmtprune.fairseq_bridge import arguments, generation, student
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.classes import classes, prunable
from nmtprune.store import checkpoints
from nmtprune.store.model import PADDING, SPECIAL_SYMBOLS, Model, read_dictionary

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(20))]
SMALL = {
    "name": "nmtprune_transformer",
    "encoder_layers": 2,
    "decoder_layers": 3,
    "embed_dim": 16,
    "ffn_dim": 24,
    "heads": 4,
    "dropout": 0.1,
}
SHAPE = {
    "encoder": [{"ffn": 5, "self": 1}, {"ffn": 0, "self": 0}],
    "decoder": [
        {"ffn": 7, "cross": 2, "self": 0},
        {"ffn": 0, "cross": 0, "self": 3},
        {"ffn": 2, "cross": 4, "self": 4},
    ],
}
VARIANTS = {
    "attention": {},
    "ssru": {"decoder_self": "ssru"},
    "tied ssru": {"decoder_self": "ssru", "tied_decoder_layers": True},
    "pre-norm": {"norm": "pre", "share_embeddings": "all"},
    "wide heads": {"heads": 3, "head_dim": 8},
}


def configuration(architecture, shape=None):
    """cfg.model as a checkpoint holds it."""
    argv = ["data", "--task", "translation", *arguments.of_architecture(Architecture.over(architecture))]
    argv += ["--shape", json.dumps(shape)] if shape else []
    return convert_namespace_to_omegaconf(
        options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    ).model


def build(architecture, shape=None):
    """The module, its weights drawn from seed 1."""
    torch.manual_seed(1)
    dictionary = generation.as_dictionary(SYMBOLS)
    return build_model(
        configuration(architecture, shape), TranslationTask(TranslationConfig(), dictionary, dictionary)
    ).eval()


def shuffled(module):
    """The module with biases and layer norms other than their first ones."""
    torch.manual_seed(3)
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def batch():
    """Sources padded on the left, targets on the right, and which target positions are real."""
    torch.manual_seed(2)
    lengths, target_lengths = torch.tensor([7, 3, 5]), torch.tensor([6, 2, 4])
    sources = torch.randint(len(SPECIAL_SYMBOLS), len(SYMBOLS), (3, 7))
    targets = torch.randint(len(SPECIAL_SYMBOLS), len(SYMBOLS), (3, 6))
    sources[torch.arange(7) < (7 - lengths)[:, None]] = PADDING
    real = torch.arange(6) < target_lengths[:, None]
    return sources, lengths, targets.masked_fill(~real, PADDING), real


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_uniform_student_is_fairseqs_transformer(norm):
    """The same first weights from the same seed, the same logits, the same alignment."""
    own, stock = build(SMALL | {"norm": norm}), build(SMALL | {"name": "transformer", "norm": norm})
    ours, theirs = own.state_dict(), stock.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.endswith("_float_tensor"))
    sources, lengths, targets, real = batch()
    shuffled(own)
    stock.load_state_dict(own.state_dict())
    logits, extra = own(sources, lengths, targets)
    expected, expected_extra = stock(sources, lengths, targets)
    torch.testing.assert_close(logits[real], expected[real], atol=1e-6, rtol=0)
    torch.testing.assert_close(extra["attn"][0][real], expected_extra["attn"][0][real], atol=1e-6, rtol=0)


def test_gradients_are_those_of_fairseqs_transformer():
    plain = {"dropout": 0.0}
    own, stock = build(SMALL | plain).train(), build(SMALL | plain | {"name": "transformer"}).train()
    sources, lengths, targets, real = batch()
    for module in (own, stock):
        module(sources, lengths, targets)[0][real].logsumexp(-1).sum().backward()
    for (name, ours), theirs in zip(own.named_parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("beam", [1, 2])
def test_step_by_step_is_all_at_once(variant, beam):
    """Hypotheses of a sentence change places as in beam search, and the first sentence ends first."""
    module = shuffled(build(SMALL | VARIANTS[variant]))
    sources, lengths, _, _ = batch()
    module.decoder.set_beam_size(beam)
    torch.manual_seed(4)
    targets = torch.randint(len(SPECIAL_SYMBOLS), len(SYMBOLS), (3 * beam, 6))
    encoded = module.encoder(sources.repeat_interleave(beam, 0), src_lengths=lengths)
    state = {}
    for length in range(1, 7):
        logits, _ = module.decoder(targets[:, :length], encoder_out=encoded, incremental_state=state)
        expected, _ = module.decoder(targets[:, :length], encoder_out=encoded)
        torch.testing.assert_close(logits[:, 0], expected[:, -1], atol=1e-5, rtol=0)
        order = torch.arange(len(targets)).view(-1, beam).flip(1)[1 if length == 3 else 0 :].flatten()
        module.decoder.reorder_incremental_state_scripting(state, order)
        encoded, targets = module.encoder.reorder_encoder_out(encoded, order), targets[order]


@pytest.mark.parametrize("variant", ["attention", "ssru"])
def test_no_position_sees_a_later_one(variant):
    module = shuffled(build(SMALL | VARIANTS[variant]))
    sources, lengths, targets, _ = batch()
    other = targets.clone()
    other[:, 3:] = 5
    torch.testing.assert_close(
        module(sources, lengths, targets)[0][:, :3], module(sources, lengths, other)[0][:, :3]
    )


def test_tied_layers_are_one_set_of_parameters_under_all_names():
    tied, single = (
        build(SMALL | VARIANTS["tied ssru"]),
        build(SMALL | {"decoder_layers": 1, "decoder_self": "ssru"}),
    )
    size = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in (("tied", tied), ("single", single))
    }
    assert size["tied"] == size["single"]
    names = [name for name in tied.state_dict() if "layers.2." in name and name.startswith("decoder")]
    assert "decoder.layers.2.ssru.forget_proj.weight" in names
    assert len(names) == sum(name.startswith("decoder.layers.0.") for name in tied.state_dict())
    other = shuffled(copy.deepcopy(tied))
    tied.load_state_dict(other.state_dict(), strict=True)
    sources, lengths, targets, _ = batch()
    assert torch.equal(tied(sources, lengths, targets)[0], other(sources, lengths, targets)[0])
    tied(sources, lengths, targets)[0].logsumexp(-1).sum().backward()
    assert tied.decoder.layers[2].fc1.weight.grad is tied.decoder.layers[0].fc1.weight.grad


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_weight_classes_by_name_are_those_of_the_module(variant):
    architecture = SMALL | VARIANTS[variant]
    by_name = Architecture.over(architecture).weight_classes
    assert classes(prunable(build(architecture).state_dict(), "in")) == by_name


def test_parameters_of_a_shape_are_those_that_its_widths_say():
    state = build(SMALL, SHAPE).state_dict()
    assert state["encoder.layers.0.fc1.weight"].shape == (5, 16)
    assert state["encoder.layers.0.self_attn.q_proj.weight"].shape == (4, 16)
    assert state["encoder.layers.0.self_attn.out_proj.weight"].shape == (16, 4)
    empty = [name.removeprefix("encoder.layers.1.") for name in state if name.startswith("encoder.layers.1.")]
    norms = [f"{norm}_layer_norm.{part}" for norm in ("self_attn", "final") for part in ("weight", "bias")]
    assert sorted(empty) == sorted([*norms, "self_attn.out_proj.bias", "fc2.bias"])


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_shaped_student_is_the_uniform_one_with_zeros(norm):
    """What slicing takes away, written as zeros of a full model, gives the same logits."""
    sliced, full = shuffled(build(SMALL | {"norm": norm}, SHAPE)), build(SMALL | {"norm": norm})
    state = {name: torch.zeros_like(tensor) for name, tensor in full.state_dict().items()}
    for name, tensor in sliced.state_dict().items():
        state[name][tuple(slice(size) for size in tensor.shape)] = tensor
    full.load_state_dict(state)
    sources, lengths, targets, real = batch()
    torch.testing.assert_close(
        sliced(sources, lengths, targets)[0][real],
        full(sources, lengths, targets)[0][real],
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_fairseqs_engine_translates_and_scores(variant):
    """The engine is built from a checkpoint's options; a beam search does not change later likelihoods."""
    architecture = SMALL | VARIANTS[variant]
    model = Model(
        shuffled(build(architecture)).state_dict(), dict(configuration(architecture)), SYMBOLS, SYMBOLS
    )
    engine = generation.FairseqEngine(model, "cpu")
    sources = [["w3", "w1", "w4"], ["w1"], ["w5", "w9"]]
    before = engine.negative_log_likelihoods(sources, sources)
    together = engine.translate(sources, Search(beam=3, replace_unknowns=True), 8)
    assert together == [
        engine.translate([source], Search(beam=3, replace_unknowns=True), 8)[0] for source in sources
    ]
    assert engine.negative_log_likelihoods(sources, sources) == before


def plain_loop(forget, update):
    cell, cells = torch.zeros_like(update[0]), []
    for f, u in zip(forget, update, strict=True):
        cell = f * cell + u
        cells.append(cell)
    return torch.stack(cells)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.floats(-40, 40), st.floats(0, 30), st.integers(0, 2**31))
def test_the_scan_and_its_gradient_are_the_loops(length, centre, spread, seed):
    """Also with gates that are all but, or wholly, open or shut."""
    generator = torch.Generator().manual_seed(seed)
    forget = torch.sigmoid(centre + spread * torch.randn(length, 2, 3, generator=generator)).requires_grad_()
    update = torch.randn(length, 2, 3, generator=generator).requires_grad_()
    weight = torch.randn(length, 2, 3, generator=generator)
    found, expected = student.recurrence(forget, update), plain_loop(forget, update)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    ours, theirs = (
        torch.autograd.grad((cells * weight).sum(), (forget, update)) for cells in (found, expected)
    )
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=1e-4)


def test_the_scans_gradient_is_that_of_its_differences():
    torch.manual_seed(1)
    gates, updates = (
        torch.rand(9, 2, dtype=torch.float64).requires_grad_(),
        torch.randn(9, 2, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(student.recurrence, (gates, updates))


@pytest.mark.parametrize(
    ("architecture", "shape", "named"),
    [
        (SMALL, {"encoder": SHAPE["encoder"][:1], "decoder": SHAPE["decoder"]}, "shape"),
        (SMALL | {"tied_decoder_layers": True}, SHAPE, "tied"),
        (SMALL | {"heads": 3, "head_dim": 0}, None, "head_dim"),
    ],
)
def test_what_does_not_fit_is_named(architecture, shape, named):
    with pytest.raises(UserError, match=named):
        build(architecture, shape)


def test_the_uniform_shape_says_what_the_options_say():
    cfg = configuration(SMALL | {"decoder_self": "ssru"})
    shape = student.uniform_shape(cfg)
    assert shape == {"encoder": [{"ffn": 24, "self": 4}] * 2, "decoder": [{"ffn": 24, "cross": 4}] * 3}
    plain, shaped = (build(SMALL | {"decoder_self": "ssru"}, given).state_dict() for given in (None, shape))
    assert all(torch.equal(plain[name], shaped[name]) for name in plain if not name.endswith("_float_tensor"))


@pytest.mark.parametrize("steps", ["train", "train-pretrain/lasso-ffn+att-both-25/slice"])
def test_fairseq_generate_opens_a_checkpoint(studio, steps):
    """Its own command-line tool, told where our models are; it writes the hypotheses that we write.

    A sliced model too.
    """
    folder = studio.make(f"micro/micro-student/s1/{steps}")
    data = next((studio / "results/data/micro").glob("sentencepiece*"))
    plugin = REPOSITORY / "workflow" / "nmtprune" / "fairseq_bridge" / "nmtprune_plugin"
    tool = "import nmtprune.fairseq_bridge.shim; from fairseq_cli.generate import cli_main; cli_main()"
    where = [
        str(data / "bin"),
        "--path",
        str(folder / "model.pt"),
        "--user-dir",
        str(plugin),
        "--cpu",
        "--gen-subset",
        "test",
    ]
    how = ["--beam", "2", "--max-len-a", "0", "--max-len-b", "20"]
    done = studio.run(sys.executable, "-c", tool, *where, *how)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line.split("\t") for line in done.stdout.splitlines() if line.startswith(("S-", "H-"))]
    said = {line[0]: line[-1].split() for line in lines}
    numbers = [name[2:] for name in said if name.startswith("S-")]
    assert len(numbers) == 40

    checkpoint = checkpoints.read(folder / "model.pt")
    symbols = [read_dictionary(data / "bin" / f"dict.{language}.txt") for language in ("src", "tgt")]
    engine = generation.FairseqEngine(
        Model(checkpoint["model"], dict(checkpoint["cfg"]["model"]), *symbols), "cpu"
    )
    ours = engine.translate([said[f"S-{number}"] for number in numbers], Search(beam=2), 20)
    assert ours == [said[f"H-{number}"] for number in numbers]
    assert checkpoint["cfg"]["model"]["decoder_self"] == "ssru"
    assert checkpoint["cfg"]["model"]["head_dim"] == 4
