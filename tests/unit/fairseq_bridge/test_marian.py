"""Marian models of transformers compute the same in fairseq and in the engines as in transformers itself."""

from dataclasses import replace

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import numpy as np
import pytest
import torch
from support.marian import MODELS, imported, numbers, read_vocabularies, write

from nmtprune.experiment.search import Search
from nmtprune.experiment.step_kinds import INT8_ENGINES
from nmtprune.fairseq_bridge import generation
from nmtprune.fairseq_bridge.marian import BIAS
from nmtprune.translation.batching import negative_log_likelihoods, translate
from nmtprune.translation.opening import open_engine
from nmtprune.translation.shortlist import Shortlist

ENGINES = ("fairseq", "ctranslate2", "onnx")


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    """The folder, transformers' model, and ours."""
    folder = tmp_path_factory.mktemp("marian")
    theirs = write(folder, request.param)
    return folder, theirs, imported(folder)


def random_pieces(symbols, lengths, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            symbols[number]
            for number in torch.randint(3, len(symbols), (length,), generator=generator).tolist()
        ]
        for length in lengths
    ]


def padded(rows, filler):
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows])


@torch.no_grad()
def their_logits(folder, theirs, sources, targets):
    """Logits [sentences, target length + 1, types], and which positions are of a target."""
    source, target = read_vocabularies(folder)
    config = theirs.config
    inputs = padded([[*map(source.get, row), source["</s>"]] for row in sources], source["<pad>"])
    lengths = torch.tensor([len(row) + 1 for row in sources])
    previous = padded(
        [[config.decoder_start_token_id, *map(target.get, row)] for row in targets], target["</s>"]
    )
    mask = torch.arange(inputs.shape[1]) < lengths[:, None]
    logits = theirs(input_ids=inputs, attention_mask=mask.long(), decoder_input_ids=previous).logits
    return logits, torch.arange(previous.shape[1]) <= torch.tensor([len(row) for row in targets])[:, None]


def test_logits_equal_those_of_transformers(both):
    folder, theirs, ours = both
    sources = random_pieces(ours.source_dictionary, (5, 11, 2, 63))
    targets = random_pieces(ours.target_dictionary, (7, 3, 12, 63))
    expected, is_target = their_logits(folder, theirs, sources, targets)
    dictionaries = [
        generation.as_dictionary(each) for each in (ours.source_dictionary, ours.target_dictionary)
    ]
    module = generation.build_model(ours, *dictionaries).eval()
    # sources are padded on the left, as in training
    longest = max(map(len, sources)) + 1
    source = torch.full((len(sources), longest), dictionaries[0].pad())
    for row, pieces in zip(source, sources, strict=True):
        row[longest - len(pieces) - 1 :] = torch.tensor([*map(dictionaries[0].index, pieces), 2])
    previous = padded([[2, *map(dictionaries[1].index, row)] for row in targets], dictionaries[1].pad())
    with torch.no_grad():
        logits = module(source, torch.tensor([len(row) + 1 for row in sources]), previous)[0]
    _, target = read_vocabularies(folder)
    in_both = torch.tensor([symbol in target for symbol in ours.target_dictionary])
    assert in_both.sum() == len(target) == len(in_both) - 1
    found, wanted = logits[is_target], expected[is_target][:, numbers(target, ours.target_dictionary)]
    assert wanted.std() > 1
    torch.testing.assert_close(found[:, in_both], wanted[:, in_both], rtol=0, atol=1e-4)
    assert logits[is_target].log_softmax(-1)[:, ~in_both].max() < -50


@pytest.mark.parametrize("engine", ENGINES)
def test_likelihoods_and_translations_are_those_of_transformers(both, engine):
    folder, theirs, ours = both
    source, target = read_vocabularies(folder)
    sources = random_pieces(ours.source_dictionary, (5, 11, 2, 8, 20))
    targets = random_pieces(ours.target_dictionary, (7, 3, 12, 4, 18), seed=4)
    opened = open_engine(ours, engine, device="cpu")
    expected, _ = their_logits(folder, theirs, sources, targets)
    log_probabilities = expected.log_softmax(-1)
    wanted = [
        -sum(
            float(row[place, number])
            for place, number in enumerate([*map(target.get, pieces), target["</s>"]])
        )
        for row, pieces in zip(log_probabilities, targets, strict=True)
    ]
    assert negative_log_likelihoods(opened, sources, targets) == pytest.approx(wanted, abs=2e-3)
    names = {number: piece for piece, number in target.items()}
    # CTranslate2 compares hypotheses that are cut off in another way, and these models rarely end
    for beam in (1, 3) if engine != "ctranslate2" else (1,):
        found = translate(opened, sources, Search(beam=beam, max_len_a=0.0, max_len_b=20, length_penalty=0.0))
        for pieces, hypothesis in zip(sources, found, strict=True):
            inputs = torch.tensor([[*map(source.get, pieces), source["</s>"]]])
            generated = theirs.generate(
                inputs,
                num_beams=beam,
                min_new_tokens=1,
                max_new_tokens=21,
                length_penalty=0.0,
                early_stopping=True,
                bad_words_ids=[[target["<pad>"]]],
                do_sample=False,
            )[0].tolist()[1:]
            ended = generated.index(target["</s>"])
            assert hypothesis == [names[number] for number in generated[:ended]], (beam, pieces)


@pytest.mark.parametrize("engine", INT8_ENGINES)
def test_the_output_bias_counts_in_8_bits_and_with_a_shortlist(both, engine):
    _, _, ours = both
    sources = random_pieces(ours.source_dictionary, (5, 11, 2, 8))
    targets = random_pieces(ours.target_dictionary, (7, 3, 12, 4), seed=4)
    exact, rounded = (
        negative_log_likelihoods(open_engine(ours, engine, precision=precision), sources, targets)
        for precision in ("float32", "int8")
    )
    assert rounded == pytest.approx(exact, rel=0.05)
    search = Search(beam=1, max_len_a=0.0, max_len_b=20, length_penalty=0.0)
    written = {piece for pieces in translate(open_engine(ours, engine), sources, search) for piece in pieces}
    symbols = [np.array(each) for each in (ours.source_dictionary, ours.target_dictionary)]
    is_allowed = np.array([number < 4 or each not in written for number, each in enumerate(symbols[1])])
    none, starts = np.zeros(0, dtype=np.int64), np.zeros(len(symbols[0]) + 1, dtype=np.int64)
    shortlist = Shortlist(*symbols, starts=starts, targets=none, always=np.flatnonzero(is_allowed))
    bias = torch.where(torch.from_numpy(is_allowed), ours.weights[BIAS], -1e4)
    without_the_others = replace(ours, weights=ours.weights | {BIAS: bias})
    expected = translate(open_engine(without_the_others, engine), sources, search)
    assert translate(open_engine(ours, engine, shortlist=shortlist), sources, search) == expected
    assert is_allowed.sum() < len(is_allowed) and any(expected)
