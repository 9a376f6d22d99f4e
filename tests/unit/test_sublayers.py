"""What is observed of components: the differences of the residual stream, in fairseq's own Transformer and in students."""

import json

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import build_model
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from nmtprune.fairseq_bridge import arguments, generation
from nmtprune.fairseq_bridge.sublayers import ObservedEngine
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.components import sub_layer_of
from nmtprune.store import checkpoints
from nmtprune.store.model import SPECIAL_SYMBOLS, Model

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(20))]
SMALL = {"encoder_layers": 2, "decoder_layers": 3, "embed_dim": 16, "ffn_dim": 24, "heads": 4, "dropout": 0.1}
STUDENT, STOCK = "nmtprune_transformer", "transformer"
SHAPE = {
    "encoder": [{"ffn": 5, "self": 1}, {"ffn": 0, "self": 0}],
    "decoder": [{"ffn": 7, "cross": 2, "self": 0}, {"ffn": 0, "cross": 0, "self": 3}, {"ffn": 2, "cross": 4, "self": 4}],
}
SOURCES = [["w1", "w2", "w3"], ["w4"], ["w5", "w6", "w7", "w8", "w9", "w1"]]
TARGETS = [["w3", "w2"], ["w9", "w8", "w7", "w1"], ["w5"]]
LACKING = {"encoder": [{"ffn": 8}, {"self": 2}], "decoder": [{"cross": 2, "ffn": 8}, {"self": 4}, {"self": 2, "cross": 1}]}
ARCHITECTURES = {
    "fairseq's, post-norm": {"name": STOCK, "norm": "post"},
    "fairseq's, pre-norm": {"name": STOCK, "norm": "pre"},
    "student, post-norm": {"name": STUDENT, "norm": "post"},
    "student, pre-norm": {"name": STUDENT, "norm": "pre"},
    "SSRU": {"name": STUDENT, "decoder_self": "ssru"},
    "tied": {"name": STUDENT, "tied_decoder_layers": True},
    "wide heads": {"name": STUDENT, "heads": 3, "head_dim": 8},
    "sliced": {"name": STUDENT, "norm": "pre", "shape": SHAPE},
    "without some": {"name": STUDENT, "shape": LACKING},
}


def model(architecture):
    """A model with random weights of seed 1, layer norms and biases other than their first ones."""
    shape = architecture.get("shape")
    stated = SMALL | {key: value for key, value in architecture.items() if key != "shape"}
    argv = ["data", "--task", "translation", *arguments.of_architecture(stated), *(["--shape", json.dumps(shape)] if shape else [])]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=argv)).model
    torch.manual_seed(1)
    dictionary = generation.as_dictionary(SYMBOLS)
    module = build_model(cfg, TranslationTask(TranslationConfig(), dictionary, dictionary))
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Model(module.state_dict(), checkpoints.options_by_name(cfg), SYMBOLS, SYMBOLS)


@pytest.fixture(params=ARCHITECTURES)
def engine(request):
    return ObservedEngine(model(ARCHITECTURES[request.param]), "cpu")


def norms(engine, side):
    """The layer norms of a side by component, and whether they come before."""
    found = {}
    for each in engine.components:
        if sub_layer_of(each).side == side:
            layer = getattr(engine._model, side).layers[each.layer - 1]
            name = {"self": "self_attn_layer_norm", "cross": "encoder_attn_layer_norm", "ffn": "final_layer_norm"}
            found[each] = getattr(layer, name[sub_layer_of(each).component]), layer.normalize_before
    return dict(sorted(found.items(), key=lambda pair: (pair[0].layer, ["SA", "EA", "FF"].index(pair[0].kind[2:]))))


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_what_a_component_adds_is_the_difference_of_the_residual_stream(engine, side):
    """From a component's input and output follows the input of the next one, and in the end the side's output."""
    passed = engine.observe(SOURCES, TARGETS)
    stream = None
    for component, (norm, before) in norms(engine, side).items():
        read, added = passed.components[component]
        real = passed.real(component)
        ssru_between = side == "decoder" and component.kind == "D.EA" and "D.SA" not in {each.kind for each in engine.components}
        if stream is not None and not ssru_between:
            torch.testing.assert_close(read[real], stream[real], atol=1e-5, rtol=1e-5)
        stream = read + added if before else norm(read + added)
        assert added[real].isfinite().all()
    last = getattr(engine._model, side).layer_norm
    torch.testing.assert_close((last(stream) if last else stream)[real], passed.final(component)[real], atol=1e-5, rtol=1e-5)


def test_an_output_is_silenced_with_its_last_matrix(engine):
    """Where a component's outgoing matrix and bias are zero it adds nothing, and all else still runs."""
    for each in engine.components:
        layer = getattr(engine._model, sub_layer_of(each).side).layers[each.layer - 1]
        module = {"self": "self_attn.out_proj", "cross": "encoder_attn.out_proj", "ffn": "fc2"}[sub_layer_of(each).component]
        for parameter in layer.get_submodule(module).parameters():
            parameter.data.zero_()
    passed = engine.observe(SOURCES, TARGETS)
    assert all((parts.output == 0).all() for parts in passed.components.values())


def test_padding_is_told_and_changes_nothing(engine):
    together = engine.observe(SOURCES, TARGETS)
    assert together.source_real.sum() == sum(len(each) + 1 for each in SOURCES)
    assert together.target_real.sum() == sum(len(each) + 1 for each in TARGETS)
    alone = engine.observe(SOURCES[:1], TARGETS[:1])
    place = together.source_real.sum(0).tolist().index(len(SOURCES[0]) + 1)
    for component, (_, output) in alone.components.items():
        theirs = together.components[component].output[:, place][together.real(component)[:, place]]
        torch.testing.assert_close(theirs, output[:, 0], atol=1e-5, rtol=1e-5)


def test_a_component_at_one_position_is_the_component(engine):
    """Moved at one position, a component's output there is that of the whole model's with the same input there."""
    passed = engine.observe(SOURCES[:1], TARGETS[:1])
    for component in engine.components:
        read, output = passed.components[component]
        for position in range(len(read)):
            found = engine.at_position(component, passed, position)(read[position, 0])
            torch.testing.assert_close(found, output[position, 0], atol=1e-5, rtol=1e-5)


def test_an_ssru_is_no_component():
    kinds = {each.kind for each in ObservedEngine(model(ARCHITECTURES["SSRU"]), "cpu").components}
    assert kinds == {"E.SA", "E.FF", "D.EA", "D.FF"}


def test_a_layer_may_lack_a_sub_layer():
    components = map(str, ObservedEngine(model(ARCHITECTURES["without some"]), "cpu").components)
    assert list(components) == ["E.SA.2", "E.FF.1", "D.SA.2", "D.SA.3", "D.EA.1", "D.EA.3", "D.FF.1"]


def test_only_a_transformer_has_components():
    with pytest.raises(UserError, match="components are sub-layers of a Transformer, and this model is of architecture `lstm`"):
        ObservedEngine(Model({}, {"arch": "lstm"}, SYMBOLS, SYMBOLS), "cpu")


def test_a_component_that_is_not_plain_is_not_differentiated():
    engine = ObservedEngine(model(ARCHITECTURES["student, post-norm"]), "cpu")
    passed = engine.observe(SOURCES[:1], TARGETS[:1])
    engine._model.encoder.layers[0].activation_fn = torch.tanh
    with pytest.raises(UserError, match=r"E\.FF\.1 is not the plain sub-layer"):
        engine.at_position(engine.components[2], passed, 0)
