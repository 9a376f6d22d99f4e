"""The grid of 8 bits: what CTranslate2 keeps, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.transformers import build, sentences

from nmtprune.foundation.errors import UserError
from nmtprune.translation.batching import translate
from nmtprune.translation.ctranslate2 import engine as ctranslate2_engine
from nmtprune.translation.int8 import on_grid, restore, rounded, swap_in
from nmtprune.translation.opening import open_engine

MATRICES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(MATRICES)
def test_rounding_twice_is_rounding_once(values):
    once = on_grid(torch.from_numpy(values))
    assert torch.equal(on_grid(once), once)


@given(MATRICES)
def test_a_row_keeps_its_largest_weight_its_zeros_and_255_values(values):
    weight = torch.from_numpy(values)
    once = on_grid(weight)
    normal = weight.abs().amax(1) >= 1e-36
    assert torch.equal(once.abs().amax(1)[normal], weight.abs().amax(1)[normal])
    assert (once[weight == 0] == 0).all()
    steps = weight.abs().amax(1, keepdim=True) / 127
    assert ((once - weight).abs() <= 0.5001 * steps + 1e-36).all()
    levels = (once / once.abs().amax(1, keepdim=True) * 127)[normal]
    assert torch.allclose(levels, levels.round(), atol=1e-3)


@pytest.fixture(scope="module")
def model():
    return build(share_all_embeddings=True, encoder_learned_pos=True)


def test_matrices_are_rounded_ties_hold_and_all_else_is_as_it_was(model):
    state = model.weights | {"decoder.output_projection.weight": model.weights["decoder.embed_tokens.weight"]}
    found = rounded(state, "ctranslate2")
    assert (
        found["decoder.output_projection.weight"].data_ptr()
        == found["decoder.embed_tokens.weight"].data_ptr()
    )
    changed = {name for name in state if not torch.equal(found[name], state[name])}
    expected = {
        name
        for name, value in state.items()
        if name.endswith(".weight") and value.dim() == 2 and "embed_positions" not in name
    }
    assert changed == expected
    assert all(found[name] is state[name] for name in state.keys() - expected)


def test_ctranslate2_keeps_exactly_the_rounded_weights(model):
    """Every int8 value and scale that a converted model holds, and the whole folder byte for byte."""
    spec = ctranslate2_engine.build_spec(copy.deepcopy(model))
    spec.validate()
    spec.optimize(quantization="int8")
    expected = ctranslate2_engine.build_spec(
        dataclasses.replace(model, weights=rounded(model.weights, "ctranslate2"))
    )
    expected.validate()
    floats, compared = expected.variables(), 0
    for name, value in spec.variables().items():
        if isinstance(value, str) or value.dtype != "int8" or f"{name}_scale" not in spec.variables():
            continue
        scales = spec.variables()[f"{name}_scale"].numpy()
        maxima = np.abs(floats[name].numpy()).max(1, keepdims=True)
        maxima[maxima == 0] = 127
        assert np.array_equal(scales, np.float32(127) / maxima[:, 0])
        assert np.array_equal(
            value.numpy().astype(np.float32) / np.float32(127) * maxima, floats[name].numpy()
        )
        assert np.allclose(value.numpy() / scales[:, None], floats[name].numpy(), rtol=1e-6, atol=0)
        compared += 1
    assert (
        compared == 1 + 2 * 4 + 2 * 7
    )  # the embeddings, and fused products of two encoder and two decoder layers


def test_a_model_is_not_changed_by_its_conversion(model, tmp_path):
    before = {name: value.clone() for name, value in model.weights.items()}
    ctranslate2_engine.save(model, tmp_path, "int8")
    assert all(torch.equal(model.weights[name], value) for name, value in before.items())


def test_a_rounded_model_makes_the_same_folder_as_the_model_itself(model, tmp_path):
    for name, state in {"plain": model.weights, "rounded": rounded(model.weights, "ctranslate2")}.items():
        ctranslate2_engine.save(dataclasses.replace(model, weights=state), tmp_path / name, "int8")
    plain, again = (sorted((tmp_path / name).iterdir()) for name in ("plain", "rounded"))
    assert [file.name for file in plain] == [file.name for file in again]
    assert [file.read_bytes() for file in plain] == [file.read_bytes() for file in again]


@pytest.mark.parametrize("engine", ["ctranslate2", "onnx"])
def test_rounded_and_unrounded_models_translate_alike_in_int8(model, engine):
    sources = sentences(random.Random(1), 30, shortest=1)
    states = [model.weights, rounded(model.weights, engine)]
    found = [
        translate(open_engine(dataclasses.replace(model, weights=state), engine, precision="int8"), sources)
        for state in states
    ]
    assert found[0] == found[1]
    assert len({tuple(hypothesis) for hypothesis in found[0]}) > 1


def test_the_gradients_of_rounded_weights_reach_the_weights_behind_them():
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3)
    before = {name: value.detach().clone() for name, value in layer.named_parameters()}
    parameters, inputs = {f"fc1.{name}": value for name, value in layer.named_parameters()}, torch.randn(7, 5)
    saved = swap_in(parameters, "onnx")
    assert torch.equal(layer.weight, on_grid(before["weight"])) and torch.equal(layer.bias, before["bias"])
    layer(inputs).square().sum().backward()
    restore(parameters, saved)
    assert torch.equal(layer.weight, before["weight"])
    outputs = inputs @ on_grid(before["weight"]).T + before["bias"]
    assert torch.allclose(layer.weight.grad, 2 * outputs.T @ inputs, rtol=1e-5)


def test_an_engine_without_8_bits_is_named(model):
    with pytest.raises(UserError, match="engine `fairseq` has no int8; valid: ctranslate2, onnx"):
        rounded(model.weights, "fairseq")
