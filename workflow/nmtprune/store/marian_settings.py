"""The settings and vocabularies of Marian models in the format of transformers, such as OPUS-MT.

No PyTorch is needed here. Names of settings are those of transformers' MarianConfig.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmtprune.experiment.imports import MARIAN, MARIAN_CONFIG, vocabularies_of_marian
from nmtprune.experiment.subwords import END, SPECIAL_SYMBOLS, UNKNOWN
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json

PAD = "<pad>"
CLASS = "MarianMTModel"
# The activations of MarianMTModel that fairseq has too, with fairseq's names.
ACTIVATIONS = {
    "swish": "swish",
    "silu": "swish",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_accurate",
}
_LINE_ENDS = ("\n", "\r")  # a dictionary of fairseq has a line for each piece

Vocabulary = dict[str, int]


@dataclass(frozen=True)
class Shape:
    """The settings of config.json that say how a model is computed."""

    vocab_size: int
    decoder_vocab_size: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_ffn_dim: int
    decoder_ffn_dim: int
    encoder_attention_heads: int
    decoder_attention_heads: int
    max_position_embeddings: int
    eos_token_id: int
    pad_token_id: int
    decoder_start_token_id: int
    activation_function: str
    scale_embedding: bool
    share_encoder_decoder_embeddings: bool
    tie_word_embeddings: bool
    dropout: float
    attention_dropout: float
    activation_dropout: float


# Settings that a file may leave out, with the values that transformers takes then.
_DEFAULTS = {
    "decoder_vocab_size": None,
    "scale_embedding": False,
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
}
_KINDS = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def read_shape(folder: Path) -> Shape:
    """The shape of the model in a folder; raises UserError if it is none that can be imported."""
    file = folder / MARIAN_CONFIG
    said = _json(file)
    if said.get("model_type") != MARIAN or CLASS not in (said.get("architectures") or [CLASS]):
        raise UserError(
            f"{file}: model_type `{said.get('model_type')}` with architectures {said.get('architectures')} "
            f"is not a Marian model; valid: `{MARIAN}` with {CLASS}"
        )
    values = {}
    for name, field in Shape.__dataclass_fields__.items():
        if name not in said and name not in _DEFAULTS:
            raise UserError(f"{file}: `{name}` is missing")
        value = said.get(name, _DEFAULTS.get(name))
        if name == "decoder_vocab_size" and value is None:
            value = said["vocab_size"]
        kinds = _KINDS[str(field.type)]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise UserError(f"{file}: {name}: {value!r} is of the wrong type; expected {field.type}")
        values[name] = value
    _check(file, shape := Shape(**values))
    return shape


def _check(file: Path, shape: Shape) -> None:
    """Raise UserError if sizes do not fit each other, or a setting asks for what we cannot compute."""
    for name, value in vars(shape).items():
        if isinstance(value, int) and not isinstance(value, bool) and value < (not name.endswith("_id")):
            raise UserError(f"{file}: {name}: {value} is too small")
    if shape.activation_function not in ACTIVATIONS:
        raise UserError(
            f"{file}: activation_function `{shape.activation_function}` is not known; "
            f"valid: {', '.join(ACTIVATIONS)}"
        )
    heads = shape.encoder_attention_heads
    if shape.decoder_attention_heads != heads or shape.d_model % heads or shape.d_model % 2:
        raise UserError(
            f"{file}: {heads} heads of the encoder and {shape.decoder_attention_heads} of the decoder do not "
            f"fit d_model {shape.d_model}: it must be even, and a multiple of one number of heads for both"
        )
    if shape.decoder_start_token_id != shape.pad_token_id:
        raise UserError(
            f"{file}: decoder_start_token_id {shape.decoder_start_token_id} is not pad_token_id "
            f"({shape.pad_token_id}), with which Marian models start"
        )
    if shape.decoder_vocab_size != shape.vocab_size:
        raise UserError(
            f"{file}: decoder_vocab_size {shape.decoder_vocab_size} is not vocab_size ({shape.vocab_size}), "
            f"and a {CLASS} has equally many embeddings on both sides"
        )


def read_vocabularies(folder: Path, shape: Shape) -> tuple[Vocabulary, Vocabulary]:
    """The numbers of source and target pieces; raises UserError if they do not fit the model."""
    source, target = files = vocabularies_of_marian(folder)
    vocabularies = {file: _vocabulary(file) for file in files}
    for file, numbers in vocabularies.items():
        if (largest := max(numbers.values())) >= shape.vocab_size:
            raise UserError(
                f"{file}: a piece has the number {largest}, and there are {shape.vocab_size} embeddings"
            )
    expected = {END: shape.eos_token_id, PAD: shape.pad_token_id}
    for symbol, number in expected.items():
        if vocabularies[target][symbol] != number:
            raise UserError(
                f"{target}: `{symbol}` has number {vocabularies[target][symbol]}, and {number} in "
                f"{folder / MARIAN_CONFIG}"
            )
    if shape.share_encoder_decoder_embeddings and vocabularies[source] != vocabularies[target]:
        raise UserError(
            f"{target}: it differs from {source}, though encoder and decoder share their embeddings"
        )
    return vocabularies[source], vocabularies[target]


def _vocabulary(file: Path) -> Vocabulary:
    numbers = _json(file)
    if missing := next((symbol for symbol in (END, UNKNOWN, PAD) if symbol not in numbers), None):
        raise UserError(f"{file}: the piece `{missing}` is missing")
    if not all(isinstance(number, int) and number >= 0 for number in numbers.values()):
        raise UserError(f"{file} does not give each piece a number")
    if len(set(numbers.values())) < len(numbers):
        raise UserError(f"{file} gives several pieces the same number")
    if any(end in piece for piece in numbers for end in _LINE_ENDS):
        raise UserError(f"{file} has a piece with a line break, which a dictionary of fairseq cannot hold")
    return numbers


def codes(vocabulary: Vocabulary) -> list[str]:
    """The codes of target languages among the pieces, such as `>>deu<<`."""
    return [piece for piece in vocabulary if piece.startswith(">>") and piece.endswith("<<")]


def pieces(vocabulary: Vocabulary) -> list[str]:
    """The pieces by their numbers, without fairseq's special symbols."""
    return [piece for piece in sorted(vocabulary, key=vocabulary.__getitem__) if piece not in SPECIAL_SYMBOLS]


def _json(file: Path) -> dict[str, Any]:
    try:
        said = read_json(file)
    except FileNotFoundError:
        raise UserError(f"there is no {file}, which a Marian model of transformers has") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not JSON: {error}") from None
    if not isinstance(said, dict) or not said:
        raise UserError(f"{file} is not a JSON object with keys")
    return said
