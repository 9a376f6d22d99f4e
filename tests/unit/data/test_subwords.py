"""Subwords: text is split into pieces and joined again; equal text gives equal models."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.parallel_text import DE, EN, SETTINGS

from nmtprune.data.subwords import Subwords
from nmtprune.experiment.subwords import marked_as, name_of
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError

names = pytest.mark.parametrize("chosen", SETTINGS, ids=name_of)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for language, lines in (("en", EN), ("de", DE)):
        (folder / f"train.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    return {
        name_of(s): Subwords.train(s, text, ("en", "de"), tmp_path_factory.mktemp("subwords"))
        for s in SETTINGS
    }


@names
def test_round_trip(trained, chosen):
    subwords = trained[name_of(chosen)]
    for side, lines in (("source", EN), ("target", DE)):
        for line in lines:
            pieces = subwords.encode(side, line)
            assert pieces == " ".join(pieces.split())
            assert subwords.decode(pieces, side) == line
    assert subwords.encode("source", "") == "" and subwords.decode("") == ""


@names
def test_the_same_text_gives_the_same_files(trained, text, tmp_path, chosen):
    Subwords.train(chosen, text, ("en", "de"), tmp_path)
    first = {file.name: file.read_bytes() for file in trained[name_of(chosen)].folder.iterdir()}
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first


@names
def test_a_folder_is_enough(trained, tmp_path, chosen):
    original = trained[name_of(chosen)]
    copy = Subwords.load(shutil.copytree(original.folder, tmp_path / "copy"))
    assert copy.languages == ("en", "de")
    assert copy.encode("target", DE[1]) == original.encode("target", DE[1])


def test_joint_models_split_both_sides_alike(trained):
    joint, separate = trained["sentencepiece-joint-110"], trained["sentencepiece-separate-70"]
    assert joint.encode("source", DE[0]) == joint.encode("target", DE[0])
    assert separate.encode("source", DE[0]) != separate.encode("target", DE[0])


def test_bpe_pieces_carry_their_mark(trained):
    pieces = trained["bpe-joint-60-moses"].encode("source", "Something's unseen & new").split()
    assert any(piece.endswith("@@") for piece in pieces)
    assert trained["bpe-joint-60-moses"].decode(" ".join(pieces), "source") == "Something's unseen & new"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(line=st.text(st.sampled_from("abcdehimnorst  "), max_size=60))
def test_any_words_of_known_letters_come_back(trained, line):
    words = " ".join(line.split())
    for subwords in trained.values():
        assert subwords.decode(subwords.encode("target", line)) == words


def test_names_differ_where_settings_do():
    variants = [
        *SETTINGS,
        {"type": "words", "size": 1000, "joint": False},
        {"type": "sentencepiece", "size": 110, "joint": True, "moses": True},
        {"type": "sentencepiece", "size": 110, "joint": True, "character_coverage": 0.9995},
        {"type": "bpe", "size": 60, "joint": True, "joint_dictionary": False},
        {"type": "given", "name": "mine", "dictionaries": "x", "model": None},
    ]
    assert len({name_of(variant) for variant in variants}) == len(variants)
    assert (
        name_of({"type": "bpe", "size": 60, "joint": True, "moses": True, "joint_dictionary": True})
        == "bpe-joint-60-moses"
    )


def test_a_size_that_does_not_suit_the_corpus(text, tmp_path):
    for size in (5, 5000):
        with pytest.raises(UserError, match=f"size {size} does not suit this corpus: .*"):
            Subwords.train(
                {"type": "sentencepiece", "size": size, "joint": True}, text, ("en", "de"), tmp_path
            )
    assert not (tmp_path / "joint.model").exists()


def test_given_subwords(trained, tmp_path):
    for language in ("en", "de"):
        (tmp_path / f"dict.{language}.txt").write_text("a 2\nb 1\n")
    given = {"type": "given", "name": "mine", "dictionaries": str(tmp_path)}
    for name, kind in (("sentencepiece-joint-110", "model"), ("bpe-joint-60-moses", "codes")):
        original = trained[name]
        taken = Subwords.given(
            {**given, "model": str(original.folder / f"joint.{kind}")}, ("en", "de"), tmp_path / kind
        )
        assert taken.encode("source", EN[2]) == original.encode("source", EN[2])
        assert [file.read_text() for file in taken.given_dictionaries] == ["a 2\nb 1\n"] * 2
    plain = Subwords.given({**given, "model": None}, ("en", "de"), tmp_path / "plain")
    assert plain.encode("source", "a  b, c") == "a b, c"


def test_given_files_that_are_missing_or_wrong(tmp_path):
    given = {"type": "given", "name": "mine", "dictionaries": str(tmp_path), "model": None}
    with pytest.raises(UserError, match=r"import `mine`: there is no file .*dict\.en\.txt"):
        Subwords.given(given, ("en", "de"), tmp_path / "out")
    for name in ("dict.en.txt", "dict.de.txt", "bad.model", "bad.codes"):
        (tmp_path / name).write_text("one two three four\n")
    with pytest.raises(UserError, match=r"joint\.model is not a SentencePiece model"):
        Subwords.given({**given, "model": str(tmp_path / "bad.model")}, ("en", "de"), tmp_path / "out")
    with pytest.raises(UserError, match=r"joint\.codes does not hold BPE codes"):
        Subwords.given({**given, "model": str(tmp_path / "bad.codes")}, ("en", "de"), tmp_path / "out")


def test_the_schema_refuses_what_it_does_not_know():
    for good in SETTINGS:
        validate(good, "subwords", "recipe")
    with pytest.raises(UserError, match="unknown key `sizes`; did you mean `size`"):
        validate({**SETTINGS[0], "sizes": 3}, "subwords", "recipe")
    with pytest.raises(UserError, match="not one of sentencepiece, bpe, words"):
        validate({**SETTINGS[0], "type": "bpee"}, "subwords", "recipe")


def test_a_reversed_source_is_read_from_its_last_piece_on(tmp_path):
    """Luong et al. 2015, 4.1, whose LSTMs See et al. 2016 prune. The target stays as it is."""
    (tmp_path / "train.en").write_text("a b c\n")
    (tmp_path / "train.de").write_text("x y z\n")
    settings = {"type": "words", "size": 10, "joint": False, "reverse_source": True}
    subwords = Subwords.train(settings, tmp_path, ("en", "de"), tmp_path / "data")
    assert subwords.encode("source", "a b c") == "c b a" and subwords.encode("target", "x y z") == "x y z"
    assert name_of(settings) == "words-separate-10-reversed" != name_of({**settings, "reverse_source": False})


def long_lines(folder, number, longest):
    """Six short lines a side and some that are longer than SentencePiece learns from."""
    for language, lines in (("en", EN), ("de", DE)):
        short = [] if number is None else lines
        (folder / f"train.{language}").write_text(
            "".join(f"{line}\n" for line in [*short, *[longest] * (number or 2)]), encoding="utf-8"
        )


def test_lines_that_sentencepiece_passes_over_are_counted_and_told(tmp_path, capsys):
    settings = {"type": "sentencepiece", "size": 110, "joint": True}
    long_lines(tmp_path, 1, "Straßen " * 500)
    Subwords.train(settings, tmp_path, ("en", "de"), tmp_path / "some")
    assert (
        capsys.readouterr().out
        == "subwords are learnt without 2 of 14 lines: they have more than 4,192 bytes\n"
    )
    long_lines(tmp_path, 1, "x" * 4192)
    Subwords.train(settings, tmp_path, ("en", "de"), tmp_path / "none")
    assert capsys.readouterr().out == ""
    long_lines(tmp_path, None, "Straßen " * 500)
    with pytest.raises(
        UserError,
        match=r"^subwords: all 4 lines of the training text have more than 4,192 bytes, .*: split them$",
    ):
        Subwords.train(settings, tmp_path, ("en", "de"), tmp_path / "all")


def test_bpe_learns_from_lines_of_any_length(tmp_path):
    long_lines(tmp_path, None, "Straßen " * 700)
    subwords = Subwords.train(
        {"type": "bpe", "size": 10, "joint": True}, tmp_path, ("en", "de"), tmp_path / "bpe"
    )
    assert subwords.encode("source", "Straßen") == "Straßen"


def test_dictionaries_tell_their_kind_of_subwords():
    assert marked_as(["\u2581the 9", "s 3", "\u2581a 1"]) == "sentencepiece"
    assert marked_as(["the 9", "hou@@ 4", "se 4"]) == "bpe"
    assert marked_as(["the 9", *(f"word{number} 1" for number in range(30)), "@@ 1"]) is None
    assert marked_as([]) is None
