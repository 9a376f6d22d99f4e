"""Components: their names, and the effects of ablating, moving, rewinding, dropping and cutting them."""

import argparse
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.students import HEAD_DIM, SYMBOLS, student

from nmtprune.experiment.components import KINDS, Component, of_shape, read_component, without
from nmtprune.experiment.search import Search
from nmtprune.experiment.shapes import SIDES
from nmtprune.fairseq_bridge import generation
from nmtprune.foundation.errors import UserError
from nmtprune.pruning import components as c
from nmtprune.pruning.components import sub_layer_of
from nmtprune.pruning.slicing import shape_of
from nmtprune.store.model import Model
from nmtprune.translation.opening import FAST, open_engine

names = st.builds(Component, st.sampled_from(list(KINDS)), st.integers(1, 99))


@given(names)
def test_what_is_read_is_what_is_printed(component):
    assert read_component(str(component)) == component


@pytest.mark.parametrize("text", ["E.EA.1", "D.SA.0", "D.SA.01", "D:SA.1", "D.SA", "", "E.SA.1 "])
def test_what_is_no_component(text):
    with pytest.raises(ValueError, match="is not a component"):
        read_component(text)


def test_a_transformers_components_are_the_papers_thirty():
    layer = {"ffn": 2048, "self": 8}
    shape = {"encoder": [layer] * 6, "decoder": [{**layer, "cross": 8}] * 6}
    found = list(map(str, of_shape(shape)))
    assert len(found) == 30
    assert found[:2] == ["E.SA.1", "E.SA.2"] and found[-1] == "D.FF.6"
    assert sum(name.startswith("D.") for name in found) == 18


def test_names_and_shape_speak_of_the_same_components():
    _, state = student("6-6")
    assert c.components_of(state) == of_shape(shape_of(state, HEAD_DIM))


def test_an_ssru_is_no_component():
    _, state = student("ssru")
    assert not [each for each in c.components_of(state) if each.kind == "D.SA"]


def module_of(options, state, shape=None):
    dictionary = generation.as_dictionary(SYMBOLS)
    model = Model(dict(state), options | {"shape": json.dumps(shape) if shape else ""}, SYMBOLS, SYMBOLS)
    return generation.build_model(model, dictionary, dictionary).eval()


def silent(output):
    """What a hook returns in place of a sub-layer's output: zeros of the same form."""
    return (
        (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)
    )


@pytest.mark.parametrize("number", range(10))
def test_ablating_equals_a_hook_that_zeroes_the_output_exactly(number):
    options, state = student("6-6")
    component = c.components_of(state)[number]
    side, layer, part = sub_layer_of(component)
    masked = {
        name: tensor.masked_fill(~mask, 0)
        for name, tensor in state.items()
        for mask in [kept(state, component, name)]
    }
    hooked = module_of(options, state)
    owner = getattr(hooked, side).layers[layer]
    target = {"ffn": "fc2", "self": "self_attn", "cross": "encoder_attn"}[part]
    getattr(owner, target).register_forward_hook(lambda module, inputs, output: silent(output))
    source, lengths = torch.tensor([[5, 6, 7, 2], [8, 9, 10, 2]]), torch.tensor([4, 4])
    previous = torch.tensor([[2, 13, 14], [2, 16, 17]])
    with torch.no_grad():
        ablated = module_of(options, masked)(source, lengths, previous)[0]
        assert torch.equal(ablated, hooked(source, lengths, previous)[0])
        assert not torch.equal(ablated, module_of(options, state)(source, lengths, previous)[0])


def kept(state, component, name):
    return c.ablation(state, [component]).get(name, torch.ones_like(state[name], dtype=torch.bool))


def test_alpha_0_is_the_initial_component_and_alpha_1_the_model():
    _, final = student("6-6")
    initial = {
        name: torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in final.items()
    }
    for component in c.components_of(final):
        at_0, at_1 = (c.moved(final, initial, component, alpha) for alpha in (0, 1))
        own = c.parameters(final, component)
        assert all(at_1[name] is final[name] for name in final)
        assert all(torch.equal(at_0[name], initial[name]) for name in own)
        assert all(at_0[name] is final[name] for name in final if name not in own)
        assert not any("norm" in name for name in own)


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_a_component_moves_on_a_line(alpha):
    _, final = student("6-6")
    initial = {name: torch.zeros_like(tensor) for name, tensor in final.items()}
    component = c.components_of(final)[0]
    between = c.moved(final, initial, component, alpha)
    for name in c.parameters(final, component):
        torch.testing.assert_close(between[name], alpha * final[name])


def test_rewinding_all_of_a_kind_is_rewinding_one_after_the_other():
    _, final = student("6-6")
    initial = {name: torch.zeros_like(tensor) for name, tensor in final.items()}
    both = [each for each in c.components_of(final) if each.kind == "D.SA"]
    made = c.rewound(final, initial, both)
    changed = {name for name in final if made[name] is not final[name]}
    assert changed == {name for each in both for name in c.parameters(final, each)}


def test_an_unknown_component_is_named_with_the_nearest():
    _, state = student("6-6")
    with pytest.raises(UserError, match=r"no component `D.SA.9`; did you mean `D.SA"):
        c.ablation(state, [Component("D.SA", 9)])


def test_a_dropped_component_is_absent_and_an_empty_layer_is_none():
    shape = {"encoder": [{"ffn": 8, "self": 2}] * 2, "decoder": [{"ffn": 8, "self": 2, "cross": 2}]}
    left = without(shape, [Component("E.SA", 1), Component("E.FF", 1), Component("D.SA", 1)])
    assert left == {"encoder": [{"ffn": 8, "self": 2}], "decoder": [{"ffn": 8, "cross": 2}]}
    with pytest.raises(UserError, match="nothing is left of the decoder without"):
        without(left, [Component("D.EA", 1), Component("D.FF", 1)])


def random_module(options, seed):
    """A student with these options and large random weights."""
    torch.manual_seed(seed)
    dictionary = generation.as_dictionary(SYMBOLS)
    namespace = argparse.Namespace(**options | {"arch": "nmtprune_transformer"})
    module = generation.models.build_model(
        namespace, generation.TranslationTask(generation.TranslationConfig(), dictionary, dictionary)
    )
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


DROPS = [["D.SA.1"], ["D.EA.2", "E.FF.1"], ["E.SA.2", "D.FF.1", "D.SA.2"], ["E.SA.1", "E.FF.1"]]


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("dropped", DROPS, ids="+".join)
def test_engines_agree_on_a_model_without_components(dropped, norm):
    """ONNX Runtime and fairseq agree, in single steps and all at once.

    Before training, a missing sub-layer changes nothing.
    """
    options, state = student("6-6")
    options = options | {f"{side}_normalize_before": norm == "pre" for side in ("encoder", "decoder")}
    shape = without(shape_of(state, HEAD_DIM), map(read_component, dropped))
    layers = {f"{side}_layers": len(shape[side]) for side in shape}
    options |= layers | {"shape": json.dumps(shape)}
    module = random_module(options, 3)
    model = Model(dict(module.state_dict()), options, SYMBOLS, SYMBOLS)
    assert shape_of(model.weights, HEAD_DIM) == shape
    sources, targets = [SYMBOLS[5:9], SYMBOLS[9:16]], [SYMBOLS[6:8], SYMBOLS[8:14]]
    engines = [open_engine(model, name) for name in ("onnx", "fairseq")]
    whole_layers_alone = dropped == [
        "E.SA.1",
        "E.FF.1",
    ]  # CTranslate2 takes fewer layers, but no layer without a sub-layer
    assert open_engine(model).name == ("ctranslate2" if whole_layers_alone else "onnx")
    theirs, ours = (engine.negative_log_likelihoods(sources, targets) for engine in engines)
    assert theirs == pytest.approx(ours, abs=1e-3)
    found = [engine.translate(sources, Search(beam=2), 12) for engine in engines]
    assert found[0] == found[1]


WHOLE_LAYERS = ["E.SA.1", "E.FF.1", "D.SA.1", "D.EA.1", "D.FF.1"]
CUTS = [*DROPS, WHOLE_LAYERS, ["D.EA.1", "D.FF.1"], ["E.FF.2", "D.FF.1"]]


def cut_and_ablated(name, norm, components):
    """A random model without components, and the whole model in which these are silent."""
    options = student(name)[0] | {f"{side}_normalize_before": norm == "pre" for side in SIDES}
    state = random_module(options, 5).state_dict()
    left, masks = c.cut(state, components, dict.fromkeys(SIDES, norm == "pre")), c.ablation(state, components)
    shape = shape_of(left, HEAD_DIM)
    layers = {f"{side}_layers": len(shape[side]) for side in SIDES}
    silenced = {
        key: tensor.masked_fill(~masks.get(key, tensor.bool() | True), 0) for key, tensor in state.items()
    }
    return (
        Model(left, options | layers | {"shape": json.dumps(shape)}, SYMBOLS, SYMBOLS),
        Model(silenced, options, SYMBOLS, SYMBOLS),
    )


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("name", ["6-6", "ssru"])
@pytest.mark.parametrize("names", CUTS, ids="+".join)
def test_a_cut_model_computes_what_the_ablated_one_does(names, name, norm):
    """To the bit in fairseq, at all positions; the same translations and likelihoods in ONNX Runtime and
    fairseq.
    """
    components = [each for each in map(read_component, names) if name == "6-6" or each.kind != "D.SA"]
    if not components:
        pytest.skip("an SSRU is no component")
    small, whole = cut_and_ablated(name, norm, components)
    source, lengths = torch.tensor([[5, 6, 7, 2], [8, 9, 10, 2]]), torch.tensor([4, 4])
    previous = torch.tensor([[2, 13, 14], [2, 16, 17]])
    dictionary = generation.as_dictionary(SYMBOLS)
    with torch.no_grad():
        outputs = [
            generation.build_model(model, dictionary, dictionary).eval()(source, lengths, previous)[0]
            for model in (small, whole)
        ]
    assert torch.equal(*outputs)
    sources, targets = [SYMBOLS[5:9], SYMBOLS[9:16]], [SYMBOLS[6:8], SYMBOLS[8:14]]
    engines = [open_engine(small, "onnx"), open_engine(small, "fairseq"), open_engine(whole, "fairseq")]
    translations = [engine.translate(sources, Search(beam=2), 12) for engine in engines]
    assert translations[0] == translations[1] == translations[2]
    theirs, *ours = (engine.negative_log_likelihoods(sources, targets) for engine in engines)
    assert all(each == pytest.approx(theirs, abs=1e-3) for each in ours)
    assert sum(map(torch.numel, small.weights.values())) < sum(map(torch.numel, whole.weights.values()))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_cut_component_is_gone_with_its_layer_norm_where_norms_come_first(norm):
    components = [read_component(name) for name in (*WHOLE_LAYERS, "D.FF.2")]
    small, whole = cut_and_ablated("6-6", norm, components)
    shape = shape_of(small.weights, HEAD_DIM)
    layer = {"ffn": 12, "self": 4}
    if norm == "pre":
        assert shape == {"encoder": [layer], "decoder": [{"self": 4, "cross": 4}]}
    else:
        empty = {"ffn": 0, "self": 0}
        assert shape == {
            "encoder": [empty, layer],
            "decoder": [{**empty, "cross": 0}, {"ffn": 0, "self": 4, "cross": 4}],
        }
    assert [*map(str, c.components_of(small.weights))] == [*map(str, of_shape(shape))]
    assert len(c.components_of(small.weights)) == len(c.components_of(whole.weights)) - len(components)
    kept = next(name for name in small.weights if name.startswith("encoder.layers.") and "fc1.weight" in name)
    assert torch.equal(small.weights[kept], whole.weights["encoder.layers.1.fc1.weight"])


def test_ctranslate2_runs_a_cut_model_of_whole_layers_and_refuses_others():
    whole_layers, _ = cut_and_ablated("6-6", "pre", [*map(read_component, WHOLE_LAYERS)])
    assert open_engine(whole_layers).name == "ctranslate2"
    sources = [SYMBOLS[5:9], SYMBOLS[9:16]]
    found = [open_engine(whole_layers, name).translate(sources, Search(beam=2), 12) for name in FAST]
    assert found[0] == found[1]
    for norm in ("pre", "post"):
        small, _ = cut_and_ablated("6-6", norm, [read_component("D.SA.1")])
        with pytest.raises(UserError, match=r"engine `ctranslate2` cannot run this model.*use `auto`"):
            open_engine(small, "ctranslate2")


def test_what_cannot_be_cut_is_told():
    _, state = student("6-6")
    pre_norm = dict.fromkeys(SIDES, True)
    with pytest.raises(UserError, match=r"no component `D.SA.9`; did you mean `D.SA"):
        c.cut(state, [Component("D.SA", 9)], pre_norm)
    encoder = [each for each in c.components_of(state) if each.kind.startswith("E")]
    for first in (True, False):
        with pytest.raises(UserError, match=r"nothing is left of the encoder without E.FF.1, E.FF.2, E.SA.1"):
            c.cut(state, encoder, dict.fromkeys(SIDES, first))
