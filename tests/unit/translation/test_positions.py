"""A model's positions limit its hypotheses in every engine, whatever length the search allows."""

import dataclasses
import random

import pytest
from support.transformers import SYMBOLS, build, sentences

from nmtprune.experiment.search import Search
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.fairseq_bridge.generation import FairseqEngine
from nmtprune.translation.batching import negative_log_likelihoods, translate
from nmtprune.translation.ctranslate2 import engine as ctranslate2_engine
from nmtprune.translation.ctranslate2 import runtime as ctranslate2_runtime
from nmtprune.translation.onnx import engine as onnx_engine
from nmtprune.translation.onnx import runtime as onnx_runtime
from nmtprune.translation.opening import open_engine
from nmtprune.translation.shortlist import shortlist_of

POSITIONS = 12
FEW = {
    "sinusoidal": {"max_source_positions": POSITIONS, "max_target_positions": POSITIONS},
    "learned": {
        "max_source_positions": POSITIONS,
        "max_target_positions": POSITIONS,
        "encoder_learned_pos": True,
        "decoder_learned_pos": True,
    },
}
MORE_THAN_POSITIONS = Search(beam=3, max_len_a=1.5, max_len_b=200)


@pytest.fixture(scope="module", params=FEW)
def model(request):
    return build(**FEW[request.param])


@pytest.fixture(scope="module")
def sources():
    """Lines up to the longest that the source positions take, its end included."""
    longest = [["w1"] * (POSITIONS - 1)]
    return sentences(random.Random(5), 20, shortest=1, longest=POSITIONS - 1) + longest


def test_hypotheses_end_at_the_last_position_in_every_engine(model, sources):
    lengths = {}
    for name in ("fairseq", "ctranslate2", "onnx"):
        lengths[name] = [
            len(pieces)
            for pieces in translate(open_engine(model, name, device="cpu"), sources, MORE_THAN_POSITIONS)
        ]
    assert lengths["fairseq"] == lengths["onnx"]
    assert all(max(found) == POSITIONS - 1 for found in lengths.values())


def test_the_longest_reference_is_scored_alike(model, sources):
    found = [
        negative_log_likelihoods(open_engine(model, name, device="cpu"), sources, sources)
        for name in ("fairseq", "ctranslate2", "onnx")
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-5) and found[2] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("name", INT8_ENGINES)
def test_so_do_8_bits_and_a_shortlist(model, sources, name):
    import numpy

    pairs = [
        (numpy.array([SYMBOLS.index(piece) for piece in line if piece in SYMBOLS]),) * 2 for line in sources
    ]
    shortlist = shortlist_of(pairs, SYMBOLS, SYMBOLS, top=5, frequent=10)
    for given in ({"precision": "int8"}, {"shortlist": shortlist}):
        found = translate(open_engine(model, name, **given), sources, MORE_THAN_POSITIONS)
        assert max(map(len, found)) == POSITIONS - 1


@pytest.mark.parametrize(
    "engine, runtime",
    [(ctranslate2_engine, ctranslate2_runtime), (onnx_engine, onnx_runtime)],
    ids=["ctranslate2", "onnx"],
)
def test_the_runtime_of_an_exported_folder_knows_the_limit_itself(model, sources, engine, runtime, tmp_path):
    engine.save(model, tmp_path)
    found = runtime.Translator(tmp_path).translate(sources[:4], beam=2, length_penalty=1.0, max_length=500)
    assert max(map(len, found)) <= POSITIONS - 1


def test_an_ensemble_has_the_positions_of_its_least_model(model, sources):
    other = dataclasses.replace(
        build(), source_dictionary=model.source_dictionary, target_dictionary=model.target_dictionary
    )
    found = translate(FairseqEngine(other, "cpu", [model]), sources, MORE_THAN_POSITIONS)
    assert max(map(len, found)) == POSITIONS - 1
