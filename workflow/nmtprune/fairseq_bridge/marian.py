"""Marian models (`store.marian`) as models of fairseq: our plug-in Transformer with Marian's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import Tensor

from nmtprune.experiment.imports import MARIAN
from nmtprune.fairseq_bridge import student  # noqa: F401  (registers itself)
from nmtprune.store import marian, marian_settings
from nmtprune.store.marian_settings import Shape, Vocabulary
from nmtprune.store.model import SPECIAL_SYMBOLS

# The bias of a symbol of fairseq that Marian does not have: its probability is 0 in single precision.
NEVER = -100.0
SOURCE, TARGET, OUTPUT = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.output_projection.weight",
)
BIAS = "decoder.output_projection.bias"
EMBEDDINGS = {SOURCE: marian.SOURCE, TARGET: marian.TARGET, OUTPUT: marian.OUTPUT}


def read(folder: Path) -> dict[str, Any]:
    """The model in a folder as a checkpoint of fairseq: its `cfg` and its weights (`model`).

    Dictionaries hold `marian_settings.pieces` after the special symbols. Embeddings without a piece are left
    out. Raises UserError if the folder does not hold a Marian model, or a file of it is damaged.
    """
    shape = marian_settings.read_shape(folder)
    vocabularies = marian_settings.read_vocabularies(folder, shape)
    return {"cfg": configuration(shape), "model": _renamed(marian.read_weights(folder, shape), *vocabularies)}


def configuration(shape: Shape) -> Any:
    """The configuration of fairseq for a model of this shape."""
    argv = ["data", "--task", "translation", "--arch", "nmtprune_transformer", "--optimizer", "adam"]
    argv += ["--criterion", "label_smoothed_cross_entropy"]
    for name, value in _options(shape).items():
        flag = f"--{name.replace('_', '-')}"
        argv += [flag] if value is True else [] if value is False else [flag, str(value)]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=argv)
    return convert_namespace_to_omegaconf(args)


def _options(shape: Shape) -> dict[str, Any]:
    sides = {
        f"{side}_{name}": getattr(shape, f"{side}_{theirs}")
        for side in ("encoder", "decoder")
        for name, theirs in (
            ("layers", "layers"),
            ("ffn_embed_dim", "ffn_dim"),
            ("attention_heads", "attention_heads"),
        )
    }
    shared = shape.share_encoder_decoder_embeddings and shape.tie_word_embeddings
    return sides | {
        "encoder_embed_dim": shape.d_model,
        "decoder_embed_dim": shape.d_model,
        "head_dim": shape.d_model // shape.encoder_attention_heads,
        "activation_fn": marian_settings.ACTIVATIONS[shape.activation_function],
        "share_all_embeddings": shared,
        "share_decoder_input_output_embed": shape.tie_word_embeddings,
        "dropout": shape.dropout,
        "attention_dropout": shape.attention_dropout,
        "activation_dropout": shape.activation_dropout,
        "max_source_positions": shape.max_position_embeddings,
        "max_target_positions": shape.max_position_embeddings,
        "positions": MARIAN,
        "no_scale_embedding": not shape.scale_embedding,
        "start_with_padding": True,
        "output_bias": True,
    }


def _renamed(theirs: dict[str, Tensor], source: Vocabulary, target: Vocabulary) -> dict[str, Tensor]:
    """The parameters by fairseq's names, with the rows of embeddings in the order of dictionaries."""
    ours = {
        name.removeprefix("model."): tensor
        for name, tensor in theirs.items()
        if name.startswith("model.") and ".layers." in name
    }
    made: dict[int, Tensor] = {}  # tied tensors stay tied; only those of one vocabulary are
    for name, of_marian in EMBEDDINGS.items():
        tensor = theirs[of_marian]
        if id(tensor) not in made:
            made[id(tensor)] = _rows(tensor, source if name == SOURCE else target)
        ours[name] = made[id(tensor)]
    return ours | {BIAS: _rows(theirs[marian.BIAS].flatten(), target, NEVER)}


def _rows(tensor: Tensor, vocabulary: Vocabulary, missing: float = 0.0) -> Tensor:
    """The rows of all symbols of a dictionary; those that Marian does not have are `missing`."""
    symbols = [*SPECIAL_SYMBOLS, *marian_settings.pieces(vocabulary)]
    numbers = torch.tensor([vocabulary.get(symbol, -1) for symbol in symbols])
    rows = tensor[numbers.clamp(min=0)]
    rows[numbers < 0] = missing
    return rows
