"""Observed outputs of components are the differences of the residual stream.

This holds for fairseq's own Transformer and for students.
"""

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import pytest
import torch
from support.observed import ARCHITECTURES, SOURCES, SYMBOLS, TARGETS, model

from nmtprune.fairseq_bridge.sublayers import ObservedEngine
from nmtprune.foundation.errors import UserError
from nmtprune.pruning.components import sub_layer_of
from nmtprune.pruning.groups import sub_layers
from nmtprune.store.model import Model


@pytest.fixture(params=ARCHITECTURES)
def engine(request):
    return ObservedEngine(model(ARCHITECTURES[request.param]), "cpu")


def norms(engine, side):
    """The layer norms of a side by component, and whether they come before."""
    found = {}
    for each in engine.components:
        if sub_layer_of(each).side == side:
            layer = getattr(engine._model, side).layers[each.layer - 1]
            name = {
                "self": "self_attn_layer_norm",
                "cross": "encoder_attn_layer_norm",
                "ffn": "final_layer_norm",
            }
            found[each] = getattr(layer, name[sub_layer_of(each).component]), layer.normalize_before
    return dict(
        sorted(found.items(), key=lambda pair: (pair[0].layer, ["SA", "EA", "FF"].index(pair[0].kind[2:])))
    )


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_what_a_component_adds_is_the_difference_of_the_residual_stream(engine, side):
    """The input and output of a component give the input of the next one, and finally the side's output.

    A sub-layer of which only a bias is left is no component, and adds its bias in between.
    """
    passed, weights = engine.observe(SOURCES, TARGETS), engine._model.state_dict()
    stream, places = None, {sub_layer_of(each): each for each in engine.components}
    layers = norms(engine, side)
    order = ["self", "cross", "ffn"]
    of_side = [each for each in sub_layers(weights) if each.side == side]
    for sub_layer in sorted(of_side, key=lambda each: (each.layer, order.index(each.component))):
        if sub_layer not in places:
            stream = None if stream is None else stream + weights[f"{sub_layer.outgoing}.bias"]
            continue
        component = places[sub_layer]
        norm, before = layers[component]
        read, added = passed.components[component]
        real = passed.real(component)
        ssru_between = (
            side == "decoder"
            and component.kind == "D.EA"
            and "D.SA" not in {each.kind for each in engine.components}
        )
        if stream is not None and not ssru_between:
            torch.testing.assert_close(read[real], stream[real], atol=1e-5, rtol=1e-5)
        stream = read + added if before else norm(read + added)
        assert added[real].isfinite().all()
    last = getattr(engine._model, side).layer_norm
    torch.testing.assert_close(
        (last(stream) if last else stream)[real], passed.final(component)[real], atol=1e-5, rtol=1e-5
    )


def test_an_output_is_silenced_with_its_last_matrix(engine):
    """Where a component's outgoing matrix and bias are zero it adds nothing, and all else still runs."""
    for each in engine.components:
        layer = getattr(engine._model, sub_layer_of(each).side).layers[each.layer - 1]
        module = {"self": "self_attn.out_proj", "cross": "encoder_attn.out_proj", "ffn": "fc2"}[
            sub_layer_of(each).component
        ]
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
    """With the input moved at one position, the component's output there equals that of the whole model."""
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
    with pytest.raises(
        UserError,
        match="components are sub-layers of a Transformer, and this model is of architecture `lstm`",
    ):
        ObservedEngine(Model({}, {"arch": "lstm"}, SYMBOLS, SYMBOLS), "cpu")


def test_a_component_that_is_not_plain_is_not_differentiated():
    engine = ObservedEngine(model(ARCHITECTURES["student, post-norm"]), "cpu")
    passed = engine.observe(SOURCES[:1], TARGETS[:1])
    engine._model.encoder.layers[0].activation_fn = torch.tanh
    with pytest.raises(UserError, match=r"E\.FF\.1 is not the plain sub-layer"):
        engine.at_position(engine.components[2], passed, 0)
