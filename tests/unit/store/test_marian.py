"""Folders of Marian models are read as data; what does not fit is refused in one sentence."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.marian import MODELS, read_vocabularies, write

from nmtprune.foundation.errors import UserError
from nmtprune.store import marian, marian_settings


class Program:
    """What pickle calls for whoever loads it."""

    def __init__(self, mark):
        self._mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self._mark}",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def read(folder):
    shape = marian_settings.read_shape(folder)
    marian_settings.read_vocabularies(folder, shape)
    return marian.read_weights(folder, shape)


def edited(file, **changes):
    """A JSON file with other values of some keys; a key whose value is None is removed."""
    said = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in said.items() if value is not None}))


def with_tensors(folder, **changes):
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        tensors[name.replace("__", ".")] = tensor
    save_file(
        {name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors"
    )


@pytest.mark.parametrize("name", MODELS)
def test_both_files_of_weights_give_the_same(tmp_path, name):
    theirs = write(tmp_path, name)
    expected = read(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    theirs.save_pretrained(tmp_path, safe_serialization=False)
    found = read(tmp_path)
    own = {key: value for key, value in theirs.state_dict().items() if "embed_positions" not in key}
    assert found.keys() == expected.keys() == own.keys()
    assert all(torch.equal(found[key], expected[key]) and torch.equal(found[key], own[key]) for key in own)
    ties = [len({tensor.data_ptr() for tensor in weights.values()}) for weights in (expected, own)]
    assert ties[0] == ties[1]


def test_weights_in_half_precision_are_read_in_single(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "model.safetensors")
    found = read(folder)
    assert all(torch.equal(found[name], tensor.half().float()) for name, tensor in tensors.items())


def test_pieces_keep_the_order_of_their_numbers(folder):
    numbers, _ = read_vocabularies(folder)
    pieces = marian_settings.pieces(numbers)
    assert [numbers[piece] for piece in pieces] == list(range(2, len(numbers) - 1))
    assert marian_settings.codes(numbers) == []
    assert marian_settings.codes({"a": 1, ">>deu<<": 2, ">>": 3}) == [">>deu<<"]


SETTINGS = {
    "another class": (
        {"architectures": ["BartForConditionalGeneration"]},
        "is not a Marian model; valid: `marian`",
    ),
    "another type": ({"model_type": "bart"}, "model_type `bart`"),
    "no width": ({"d_model": None}, r"`d_model` is missing"),
    "a width in words": ({"d_model": "wide"}, r"d_model: 'wide' is of the wrong type; expected int"),
    "no layers": ({"encoder_layers": 0}, "encoder_layers: 0 is too small"),
    "odd heads": ({"encoder_attention_heads": 3, "decoder_attention_heads": 3}, "do not fit d_model 32"),
    "other heads": ({"decoder_attention_heads": 8}, "4 heads of the encoder and 8 of the decoder"),
    "an activation": (
        {"activation_function": "mish"},
        "activation_function `mish` is not known; valid: swish",
    ),
    "another start": ({"decoder_start_token_id": 0}, "decoder_start_token_id 0 is not pad_token_id"),
    "more target embeddings": ({"decoder_vocab_size": 99999}, "decoder_vocab_size 99999 is not vocab_size"),
    "fewer embeddings": ({"vocab_size": 9, "decoder_vocab_size": 9}, "and there are 9 embeddings"),
    "another end": ({"eos_token_id": 1}, "`</s>` has number 0, and 1 in"),
    "another width": ({"encoder_ffn_dim": 47}, r"has the shape \(48, 32\), and \(47, 32\) by"),
    "fewer layers": (
        {"encoder_layers": 1},
        r"`model\.encoder\.layers\.1\.\S+` is not a parameter of a MarianMTModel",
    ),
    "more layers": ({"encoder_layers": 3}, r"`model\.encoder\.layers\.2\.\S+` is missing"),
    "more positions": ({"max_position_embeddings": 65}, None),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_do_not_fit_are_refused(folder, case):
    changes, said = SETTINGS[case]
    edited(folder / "config.json", **changes)
    if said is None:
        assert read(folder)
        return
    with pytest.raises(UserError, match=said) as error:
        read(folder)
    assert len(str(error.value).splitlines()) == 1


VOCABULARIES = {
    "no unknown": ({"<unk>": None}, "the piece `<unk>` is missing"),
    "no number": ({"▁x": "many"}, "does not give each piece a number"),
    "one number": ({"▁x": 5}, "gives several pieces the same number"),
    "a number beyond": ({"▁x": 100_000}, "a piece has the number 100000"),
    "a line break": ({"a\nb": 100_000}, "a piece with a line break"),
}


@pytest.mark.parametrize("case", VOCABULARIES)
def test_vocabularies_that_do_not_fit_are_refused(folder, case):
    changes, said = VOCABULARIES[case]
    edited(folder / "vocab.json", **changes)
    with pytest.raises(UserError, match=said):
        read(folder)


def test_two_vocabularies_for_shared_embeddings_are_refused(folder):
    shutil.copy(folder / "vocab.json", folder / "target_vocab.json")
    assert read(folder)
    edited(folder / "target_vocab.json", **{marian_settings.pieces(read_vocabularies(folder)[0])[0]: None})
    with pytest.raises(UserError, match="though encoder and decoder share their embeddings"):
        read(folder)


@pytest.mark.parametrize("file", ["config.json", "vocab.json"])
def test_files_that_are_missing_or_broken_are_named(folder, file):
    for content, said in (("{", "is not JSON"), ("[1]", "is not a JSON object"), (None, "there is no")):
        (folder / file).unlink() if content is None else (folder / file).write_text(content)
        with pytest.raises(UserError, match=rf"{said}.*" if content is None else rf"{file} {said}"):
            read(folder)


def test_damaged_weights_are_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors is not a whole file of safetensors"):
        read(folder)
    file.unlink()
    with pytest.raises(UserError, match=r"has no weights; valid: model\.safetensors, pytorch_model\.bin"):
        read(folder)
    (folder / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is not a file of weights alone, or is damaged"):
        read(folder)


def test_a_program_in_the_weights_does_not_run(folder, tmp_path):
    mark = tmp_path / "has_run"
    (folder / "model.safetensors").unlink()
    torch.save({"program": Program(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is not a file of weights alone") as error:
        read(folder)
    assert len(str(error.value).splitlines()) == 1 and not mark.exists()


def test_positions_that_were_learnt_are_refused(folder):
    name = "model__encoder__embed_positions__weight"
    shape = marian_settings.read_shape(folder)
    angles = torch.arange(64)[:, None] * 10000 ** (-torch.arange(16) / 16)
    with_tensors(folder, **{name: torch.cat([angles.sin(), angles.cos()], dim=1)})
    assert marian.read_weights(folder, shape)
    with_tensors(folder, **{name: torch.randn(64, 32)})
    with pytest.raises(UserError, match="does not hold Marian's sinusoidal positions"):
        read(folder)
