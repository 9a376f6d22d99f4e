"""ONNX Runtime gives fairseq's likelihoods and exactly its hypotheses, for Transformers of any shape."""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.transformers import train_to_copy
from support.workplace import PATIENCE, needs_exact_bytes

from nmtprune.experiment.search import Search
from nmtprune.foundation.errors import UserError
from nmtprune.store.model import SPECIAL_SYMBOLS, Model
from nmtprune.translation import int8
from nmtprune.translation.batching import negative_log_likelihoods, translate
from nmtprune.translation.onnx import engine as onnx_engine
from nmtprune.translation.onnx import graph, runtime
from nmtprune.translation.onnx.engine import OnnxEngine

SYMBOLS = [*SPECIAL_SYMBOLS, *(f"w{number}" for number in range(36))]
SHAPE = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_embed_dim": 16,
    "decoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "decoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "dropout": 0.0,
    "criterion": "cross_entropy",
}
PRE_NORM = {"encoder_normalize_before": True, "decoder_normalize_before": True}
UNEQUAL = {
    "encoder": [{"ffn": 7, "self": 1}, {"ffn": 0, "self": 2}],
    "decoder": [{"ffn": 32, "cross": 1, "self": 2}, {"ffn": 3, "cross": 2, "self": 1}],
}
EMPTY = {
    "encoder": [{"ffn": 0, "self": 0}, {"ffn": 8, "self": 1}],
    "decoder": [{"ffn": 0, "cross": 0, "self": 0}, {"ffn": 8, "cross": 1, "self": 0}],
}
NOTHING = {"encoder": [{"ffn": 0, "self": 0}] * 2, "decoder": [{"ffn": 0, "cross": 0, "self": 0}] * 2}
SSRU = {
    "encoder": [{"ffn": 7, "self": 2}, {"ffn": 9, "self": 0}],
    "decoder": [{"ffn": 5, "cross": 1}, {"ffn": 0, "cross": 2}],
}
TIED = {"encoder": UNEQUAL["encoder"], "decoder": [{"ffn": 12, "cross": 1, "self": 1}] * 2}
MODELS = {
    "post-norm": {},
    "pre-norm": PRE_NORM,
    "different stacks": {"encoder_normalize_before": True, "decoder_attention_heads": 4, "decoder_layers": 1},
    "shared embeddings": {"share_all_embeddings": True},
    "learned positions": {"encoder_learned_pos": True, "decoder_learned_pos": True},
    "gelu, embedding norm": {
        "activation_fn": "gelu",
        "layernorm_embedding": True,
        "no_scale_embedding": True,
    },
    "odd width": {
        "encoder_embed_dim": 15,
        "decoder_embed_dim": 15,
        "encoder_attention_heads": 3,
        "decoder_attention_heads": 3,
    },
    "unequal layers": {"arch": "nmtprune_transformer", "shape": json.dumps(UNEQUAL)},
    "empty sub-layers": {"arch": "nmtprune_transformer", "shape": json.dumps(EMPTY)},
    "empty sub-layers, pre-norm": {"arch": "nmtprune_transformer", "shape": json.dumps(EMPTY), **PRE_NORM},
    "no sub-layer left": {"arch": "nmtprune_transformer", "shape": json.dumps(NOTHING)},
    "own width of a head": {"arch": "nmtprune_transformer", "head_dim": 5},
    "recurrent decoder": {"arch": "nmtprune_transformer", "decoder_self": "ssru", "shape": json.dumps(SSRU)},
    "recurrent decoder, pre-norm": {"arch": "nmtprune_transformer", "decoder_self": "ssru", **PRE_NORM},
    "tied decoder": {"arch": "nmtprune_transformer", "tied_decoder_layers": True, "shape": json.dumps(TIED)},
}


def build(arch: str = "transformer", **options: object) -> Model:
    """A model with random weights and biases; large embeddings keep its outputs far from uniform."""
    import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

    from fairseq import models
    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    from nmtprune.fairseq_bridge import student
    from nmtprune.fairseq_bridge.generation import as_dictionary

    torch.manual_seed(1)
    namespace = argparse.Namespace(arch=arch, **SHAPE | options)
    dictionary = as_dictionary(SYMBOLS)
    if arch == "nmtprune_transformer":
        defaults = {
            field.name: field.default
            for field in dataclasses.fields(student.StudentConfig)
            if field.name != "_name"
        }
        namespace = argparse.Namespace(**defaults | vars(namespace))
    module = models.build_model(namespace, TranslationTask(TranslationConfig(), dictionary, dictionary))
    with torch.no_grad():
        module.decoder.embed_tokens.weight.mul_(6)
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3)
    state = module.state_dict()
    return Model({name: tensor.clone() for name, tensor in state.items()}, vars(namespace), SYMBOLS, SYMBOLS)


def fairseq(model: Model):
    from nmtprune.fairseq_bridge.generation import FairseqEngine

    return FairseqEngine(model, device="cpu")


def sentences(generator: random.Random, count: int, longest: int = 12) -> list[list[str]]:
    """Random lines; w36 and w37 are in no dictionary."""
    return [
        [f"w{generator.randrange(38)}" for _ in range(generator.randint(0, longest))] for _ in range(count)
    ]


@pytest.fixture(scope="module")
def corpus() -> tuple[list[list[str]], list[list[str]]]:
    generator = random.Random(0)
    return sentences(generator, 24), sentences(generator, 24)


@pytest.fixture(scope="module")
def trained() -> tuple[Model, list[list[str]]]:
    generator = random.Random(2)
    lines = [[f"w{generator.randrange(8)}" for _ in range(generator.randint(1, 6))] for _ in range(400)]
    shape = {
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_embed_dim": 32,
        "decoder_embed_dim": 32,
        **PRE_NORM,
    }
    return train_to_copy(build(**shape), lines), lines[:100]


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS.keys())
def test_likelihoods_and_hypotheses_are_those_of_fairseq(options, corpus):
    model = build(**options)
    assert onnx_engine.supports(model) is None
    ours, theirs = OnnxEngine(model), fairseq(model)
    values = negative_log_likelihoods(theirs, *corpus)
    assert negative_log_likelihoods(ours, *corpus) == pytest.approx(values, rel=1e-5)
    assert min(values) < max(values) / 2
    search = Search(beam=3, max_len_b=10)
    assert translate(ours, corpus[0], search) == translate(theirs, corpus[0], search)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("beam", [1, 2, 5])
def test_hypotheses_of_a_trained_model_are_those_of_fairseq(trained, beam, length_penalty):
    model, sources = trained
    search = Search(beam=beam, length_penalty=length_penalty)
    found, expected = (translate(engine, sources, search) for engine in (OnnxEngine(model), fairseq(model)))
    assert found == expected
    assert sum(map(list.__eq__, expected, sources)) >= 50


def test_at_the_length_limit_the_likeliest_hypotheses_end_as_in_fairseq(corpus):
    model = build(**MODELS["recurrent decoder"])  # ends some hypotheses early
    engines = OnnxEngine(model), fairseq(model)
    for beam in (2, 3, 5, 30):
        for limit in (1, 3, 6, 10):
            found, expected = (
                translate(engine, corpus[0], Search(beam=beam, max_len_b=limit)) for engine in engines
            )
            assert found == expected
            assert max(map(len, found)) == limit
            assert any(0 < len(line) < limit for line in found) or limit < 6


@needs_exact_bytes
def test_int8_translates_alike_in_a_quarter_of_the_weights(trained, tmp_path):
    model, sources = trained
    sizes = {}
    for precision in ("float32", "int8"):
        onnx_engine.save(model, tmp_path / precision, precision)
        sizes[precision] = (tmp_path / precision / graph.WEIGHTS).stat().st_size
    assert sizes["int8"] < 0.45 * sizes["float32"]  # of so small a matrix the scales are much
    full, small = (OnnxEngine.load(tmp_path / precision) for precision in ("float32", "int8"))
    values = [negative_log_likelihoods(engine, sources, sources) for engine in (full, small)]
    assert sum(values[1]) == pytest.approx(sum(values[0]), rel=0.1)
    assert values[1] != values[0]
    assert sum(map(list.__eq__, translate(full, sources), translate(small, sources))) >= 90


@pytest.mark.parametrize("options", [{}, MODELS["recurrent decoder"]], ids=["attention", "recurrent"])
def test_int8_rounds_weights_to_the_grid_of_the_step(options):
    model = build(**options)
    grid = dataclasses.replace(model, weights=int8.rounded(model.weights, "onnx"))
    bytes_of = [graph.build(each, "int8")[1]._arrays for each in (model, grid)]
    assert [array.tobytes() for array in bytes_of[0]] == [array.tobytes() for array in bytes_of[1]]
    assert any(array.dtype == np.int8 for array in bytes_of[0])


class Fixed:
    """A shortlist that is the same for every batch."""

    def __init__(self, numbers):
        self.numbers = np.array(numbers)

    def candidates(self, sources):
        return self.numbers


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_shortlist_of_everything_changes_nothing_and_others_are_kept_to(trained, precision):
    model, sources = trained
    plain, everything = (
        OnnxEngine(model, precision=precision, shortlist=each) for each in (None, Fixed(range(40)))
    )
    assert translate(everything, sources) == translate(plain, sources)
    few = OnnxEngine(model, precision=precision, shortlist=Fixed([0, 1, 2, 3, 5, 9, 10]))
    found = translate(few, sources)
    assert {piece for line in found for piece in line} == {"w1", "w5", "w6"}
    assert few.negative_log_likelihoods(sources, sources) == plain.negative_log_likelihoods(sources, sources)


def test_equal_tensors_lie_in_the_file_once():
    plain, tied = (build(arch="nmtprune_transformer", tied_decoder_layers=tied) for tied in (False, True))
    sizes = [sum(array.nbytes for array in graph.build(model)[1]._arrays) for model in (plain, tied)]
    layer = sum(
        tensor.nbytes for name, tensor in plain.weights.items() if name.startswith("decoder.layers.1.")
    )
    assert sizes[0] - sizes[1] == pytest.approx(layer, rel=0.05)


def test_a_folder_needs_neither_torch_nor_nmtprune(trained, tmp_path):
    model, sources = trained
    onnx_engine.save(model, tmp_path)
    shutil.copy(runtime.__file__, tmp_path / "runtime.py")
    script = f"""
import sys
import runtime
model = runtime.Translator(".")
print(" ".join(model.translate([{sources[0]}], beam=5, length_penalty=1.0, max_length=20)[0]))
assert not {{"torch", "fairseq", "nmtprune", "onnx"}} & set(sys.modules)
"""
    command = [sys.executable, "-c", script]
    found = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": ""}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert found.stdout.split() == translate(OnnxEngine(model), sources[:1])[0], found.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"arch": "lstm"}, "missing"),
        ({"activation_fn": "tanh"}, "activation `tanh`"),
        ({"no_token_positional_embeddings": True}, "no_token_positional_embeddings"),
    ],
)
def test_other_models_are_refused_with_a_reason(options, reason, tmp_path):
    model = build(**options)
    assert reason in onnx_engine.supports(model)
    with pytest.raises(UserError, match="cannot run this model"):
        onnx_engine.save(model, tmp_path)


def test_parameters_of_another_architecture_are_refused():
    model = build()
    extra = dataclasses.replace(model, weights=model.weights | {"decoder.gate.weight": torch.zeros(2, 2)})
    assert onnx_engine.supports(extra) == "parameter `decoder.gate.weight` is not a Transformer's"
    name = "encoder.layers.1.self_attn.q_proj.weight"
    torn = dataclasses.replace(model, weights=model.weights | {name: model.weights[name][:5]})
    assert "not a multiple of the 8 of a head" in onnx_engine.supports(torn)


def test_unknown_pieces_cannot_be_replaced(trained):
    with pytest.raises(UserError, match="replace_unknowns"):
        OnnxEngine(trained[0]).translate([["w1"]], Search(replace_unknowns=True), 5)
