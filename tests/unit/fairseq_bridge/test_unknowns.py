"""Unknown words of a hypothesis become source words, by attention."""

import random

import pytest
import torch
from support.transformers import build, sentences, train_to_copy

from nmtprune.experiment.search import Search
from nmtprune.fairseq_bridge.generation import replace_unknowns
from nmtprune.foundation.errors import UserError
from nmtprune.store.model import UNKNOWN
from nmtprune.translation.batching import translate
from nmtprune.translation.opening import open_engine


def test_the_source_piece_with_the_most_attention_is_copied():
    # two padded positions, three pieces, end of sentence: neither of these is copied, however much attention
    # they have
    attention = torch.tensor(
        [
            [0.9, 0.0, 0.9, 0.9],
            [0.0, 0.9, 0.0, 0.9],
            [0.3, 0.1, 0.1, 0.0],
            [0.1, 0.1, 0.3, 0.0],
            [0.1, 0.2, 0.1, 0.0],
            [0.9, 0.9, 0.9, 1.0],
        ]
    )
    hypothesis = [UNKNOWN, "haus", UNKNOWN]
    assert replace_unknowns(hypothesis, ["Anna", "Berta", "Clara"], attention) == ["Anna", "haus", "Berta"]
    assert replace_unknowns([], ["Anna", "Berta", "Clara"], attention[:, :1]) == []


def test_a_model_without_attention_is_refused():
    with pytest.raises(UserError, match="replace_unknowns needs a model with attention"):
        replace_unknowns([UNKNOWN], ["Anna"], torch.empty(0))


def test_both_engines_copy_the_same_words():
    """Sentences with a name that is in no dictionary: the model learns to copy it as unknown, and whence."""
    lines = sentences(random.Random(3), 200, shortest=2, longest=5)
    model = train_to_copy(build(decoder_attention_heads=4), lines)
    sources = [[*line, f"name{number}"] for number, line in enumerate(lines[:60])]
    plain, replaced = ({}, {})
    for name in ("ctranslate2", "fairseq"):
        engine = open_engine(model, name)
        plain[name] = translate(engine, sources, Search(beam=3, max_len_b=12))
        replaced[name] = translate(engine, sources, Search(beam=3, max_len_b=12, replace_unknowns=True))
    assert plain["ctranslate2"] == plain["fairseq"]
    assert replaced["ctranslate2"] == replaced["fairseq"]
    pairs = list(zip(sources, plain["fairseq"], replaced["fairseq"], strict=True))
    assert sum(pieces.count(UNKNOWN) for _, pieces, _ in pairs) > 20
    for source, before, after in pairs:
        assert all(
            new in source if old == UNKNOWN else new == old for old, new in zip(before, after, strict=True)
        )
