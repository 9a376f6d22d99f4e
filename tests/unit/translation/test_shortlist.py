"""Shortlists: aligned pieces are candidates, results are reproducible, and engines search only candidates."""

from __future__ import annotations

import random
import sys

import numpy as np
import pytest
from support.transformers import SYMBOLS, build, sentences

from nmtprune.experiment.search import Search
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import sha256_of
from nmtprune.translation.batching import negative_log_likelihoods, translate
from nmtprune.translation.opening import open_engine
from nmtprune.translation.shortlist import SPECIAL, Shortlist, make_shortlist, shortlist_of

TYPES = 40
SOURCE = [*SYMBOLS[:SPECIAL], *(f"s{number}" for number in range(TYPES))]
TARGET = [*SYMBOLS[:SPECIAL], *(f"t{number}" for number in range(TYPES))]


def mirrored(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs in which source piece i is target piece i, in reverse order; low numbers are more frequent."""
    generator = np.random.default_rng(0)
    lines = [
        SPECIAL + np.minimum(generator.geometric(0.1, generator.integers(0, 9)) - 1, TYPES - 2)
        for _ in range(count)
    ]
    return [(line, line[::-1]) for line in lines]


@pytest.fixture(scope="module")
def shortlist() -> Shortlist:
    return shortlist_of(mirrored(500), SOURCE, TARGET, top=5, frequent=3)


def of(shortlist: Shortlist, piece: int) -> list[int]:
    return shortlist.targets[shortlist.starts[piece] : shortlist.starts[piece + 1]].tolist()


def test_the_most_probable_candidate_of_a_piece_is_its_translation(shortlist):
    seen = sorted(set(np.concatenate([source for source, _ in mirrored(500)]).tolist()))
    best = [of(shortlist, piece)[0] for piece in seen]
    assert len(seen) > 30
    assert sum(map(int.__eq__, best, seen)) >= len(seen) - 2
    assert all(len(of(shortlist, piece)) <= 5 for piece in seen)


def test_special_symbols_and_frequent_pieces_are_always_candidates(shortlist):
    always = [0, 1, 2, 3, 4, 5, 6]
    assert shortlist.always.tolist() == always
    assert shortlist.candidates([[]]).tolist() == always
    assert shortlist.candidates([["never seen", SOURCE[-1]]]).tolist() == always


def test_the_candidates_of_a_batch_are_those_of_its_sentences(shortlist):
    batch = [["s7", "s9"], [], ["s20"]]
    found = shortlist.candidates(batch)
    assert found.tolist() == sorted(
        {*shortlist.always.tolist(), *of(shortlist, 11), *of(shortlist, 13), *of(shortlist, 24)}
    )
    assert 24 in found and 30 not in found


def test_the_file_is_the_same_every_time_and_reads_back(shortlist, tmp_path, monkeypatch):
    shortlist.save(tmp_path / "one.npz")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    shortlist_of(mirrored(500), SOURCE, TARGET, top=5, frequent=3).save(tmp_path / "two.npz")
    assert sha256_of(tmp_path / "one.npz") == sha256_of(tmp_path / "two.npz")
    loaded = Shortlist.load(tmp_path / "one.npz")
    assert loaded.candidates([["s7"]]).tolist() == shortlist.candidates([["s7"]]).tolist()
    (tmp_path / "cut.npz").write_bytes((tmp_path / "one.npz").read_bytes()[:200])
    (tmp_path / "empty.npz").touch()
    for name in ("cut.npz", "empty.npz", "none.npz"):
        with pytest.raises(UserError, match=f"{name}` is not a shortlist"):
            Shortlist.load(tmp_path / name)


def test_it_is_made_from_a_folder_of_binarised_data(tmp_path):
    from nmtprune.data.subwords import Subwords
    from nmtprune.fairseq_bridge.binarise import binarise

    text = {
        "de": ["ein Hund", "", "eine Katze", "ein Haus"] * 20,
        "en": ["a dog", "", "a cat", "a house"] * 20,
    }
    for language, lines in text.items():
        (tmp_path / f"train.{language}").write_text("".join(f"{line}\n" for line in lines))
    subwords = Subwords.train(
        {"type": "words", "joint": False, "size": 20}, tmp_path, ("de", "en"), tmp_path / "subwords"
    )
    binarise(tmp_path, ["train"], subwords, tmp_path / "bin")
    make_shortlist(tmp_path / "bin", tmp_path / "shortlist.npz", top=1, frequent=1)
    found = Shortlist.load(tmp_path / "shortlist.npz")
    assert set(found.target_pieces[found.candidates([["Hund", "Katze"]])].tolist()[SPECIAL:]) == {
        "a",
        "dog",
        "cat",
    }
    assert set(found.target_pieces[found.candidates([["ein", "Haus"]])].tolist()[SPECIAL:]) == {"a", "house"}


def test_data_without_a_pair_and_a_missing_aligner_are_errors(monkeypatch):
    with pytest.raises(UserError, match="needs training data"):
        shortlist_of([(np.array([], dtype=int), np.array([5]))], SOURCE, TARGET)
    monkeypatch.setitem(sys.modules, "thot.alignment", None)
    with pytest.raises(UserError, match="pip install sil-thot"):
        shortlist_of(mirrored(5), SOURCE, TARGET)


def of_toy_model(targets: list[list[int]], always: list[int]) -> Shortlist:
    return Shortlist(
        np.array(SYMBOLS),
        np.array(SYMBOLS),
        np.cumsum([0, *map(len, targets)]),
        np.concatenate(targets),
        np.array(always),
    )


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["ctranslate2", "onnx"])
def test_a_shortlist_of_everything_changes_nothing(name, precision):
    everything = of_toy_model([np.array([], dtype=int)] * len(SYMBOLS), list(range(len(SYMBOLS))))
    sources = sentences(random.Random(5), 40)
    model = build()
    engines = [open_engine(model, name, precision=precision, shortlist=each) for each in (None, everything)]
    hypotheses = [translate(engine, sources, Search(max_len_b=15)) for engine in engines]
    assert hypotheses[0] == hypotheses[1]


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", ["ctranslate2", "onnx"])
def test_hypotheses_hold_candidates_alone_and_likelihoods_are_those_of_all_pieces(name, precision):
    generator = np.random.default_rng(2)
    empty = [np.array([], dtype=int)] * SPECIAL
    targets = [
        *empty,
        *(generator.choice(np.arange(SPECIAL, len(SYMBOLS)), 2, replace=False) for _ in SYMBOLS[SPECIAL:]),
    ]
    shortlist = of_toy_model(targets, list(range(SPECIAL)))
    sources = sentences(random.Random(6), 30, shortest=1, longest=4)
    model = build()
    engine = open_engine(model, name, precision=precision, shortlist=shortlist)
    free = open_engine(model, name, precision=precision)
    before = negative_log_likelihoods(engine, sources, sources)
    assert before == pytest.approx(negative_log_likelihoods(free, sources, sources))
    outside = 0
    for source in sources:  # one batch after the other, of very different candidates
        allowed = {SYMBOLS[piece] for piece in shortlist.candidates([source])} - {"<s>", "<pad>", "</s>"}
        [hypothesis] = engine.translate([source], Search(max_len_b=12), 12)
        assert set(hypothesis) <= allowed | {"<s>"}
        assert len(hypothesis) <= 12
        outside += not set(free.translate([source], Search(max_len_b=12), 12)[0]) <= allowed
    assert outside
    assert negative_log_likelihoods(engine, sources, sources) == pytest.approx(before)
