"""A model that began as a Marian model, written back in the format of transformers (MarianMTModel)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from nmtprune.data.subwords import Subwords
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.imports import (
    MARIAN,
    MARIAN_CONFIG,
    MARIAN_PIECES,
    MARIAN_TARGET_VOCABULARY,
    MARIAN_VOCABULARY,
    MARIAN_WEIGHTS,
)
from nmtprune.experiment.subwords import model_files
from nmtprune.fairseq_bridge import marian as bridge
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json
from nmtprune.pruning.slicing import head_size, shape_of
from nmtprune.store import marian, marian_settings
from nmtprune.store.marian_settings import Shape, Vocabulary
from nmtprune.store.model import END, PADDING, SPECIAL_SYMBOLS, Model, of_chain, positions

_ACTIVATIONS = {ours: theirs for theirs, ours in reversed(marian_settings.ACTIVATIONS.items())}


def export(config: Config, chain: Chain, folder: Path) -> None:
    """Write a chain's model into a new folder, whole or not at all; pruned weights are zeros there.

    Raises UserError if the folder is not empty, the model is missing, or transformers' MarianMTModel cannot
    compute it.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"export: `{folder}` is there already; name a new folder")
    model = of_chain(config, chain)
    if reason := unsupported(model):
        raise UserError(f"export: {chain} cannot be written as a Marian model: {reason}")
    temporary = folder.absolute().with_name(f".{folder.absolute().name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        write(model, temporary)
        _write_to_translate(config, chain, temporary)
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unsupported(model: Model) -> str | None:
    """The reason why MarianMTModel cannot compute a model; None if it can."""
    needed = {"positions": MARIAN, "start_with_padding": True, "output_bias": True}
    if any(model.options.get(name) != value for name, value in needed.items()):
        return "it did not begin with one (`import-<name>` of an import with `marian`)"
    head_dim = head_size(model.options)
    heads = model.weights[bridge.SOURCE].shape[1] // head_dim
    for side, layers in shape_of(model.weights, head_dim).items():
        expected = {"ffn": layers[0].get("ffn"), "cross": heads, "self": heads}
        if side == "encoder":
            del expected["cross"]
        for number, layer in enumerate(layers, start=1):
            if layer != expected or not layer["ffn"]:
                return (
                    f"layer {number} of the {side} has the widths {layer}, and MarianMTModel has one "
                    f"feed-forward width for all layers and {heads} heads in each attention"
                )
    return None


def write(model: Model, folder: Path) -> None:
    """Write settings, vocabularies and weights of a supported model."""
    dictionaries = (model.source_dictionary, model.target_dictionary)
    has_begin = bool(model.weights[bridge.BIAS][0] != bridge.NEVER)
    orders = [_order(dictionary, has_begin) for dictionary in dictionaries]
    types = max(map(len, orders)) + 1
    source, target = (
        {dictionary[row]: number for number, row in enumerate(order)} | {marian_settings.PAD: types - 1}
        for dictionary, order in zip(dictionaries, orders, strict=True)
    )
    shape = _shape(model, types, target)
    write_json(
        folder / MARIAN_CONFIG,
        {
            "model_type": MARIAN,
            "architectures": [marian_settings.CLASS],
            "is_encoder_decoder": True,
            "forced_eos_token_id": shape.eos_token_id,
            "torch_dtype": "float32",
            **vars(shape),
        },
    )
    write_json(folder / MARIAN_VOCABULARY, source)
    if not shape.share_encoder_decoder_embeddings:
        write_json(folder / MARIAN_TARGET_VOCABULARY, target)
    save_file(_tensors(model, shape, *orders), folder / MARIAN_WEIGHTS[0], {"format": "pt"})


def _order(dictionary: list[str], has_begin: bool) -> list[int]:
    """The rows of a dictionary in the order of OPUS-MT, without that of padding, which comes last of all.

    Marian models mostly have no `<s>`.
    """
    begin, _, end, unknown = range(len(SPECIAL_SYMBOLS))
    return [end, unknown, *range(len(SPECIAL_SYMBOLS), len(dictionary)), *([begin] if has_begin else [])]


def _shape(model: Model, types: int, target: Vocabulary) -> Shape:
    options, layers = model.options, shape_of(model.weights, head_size(model.options))
    d = model.weights[bridge.SOURCE].shape[1]
    heads = d // head_size(options)
    return Shape(
        vocab_size=types,
        decoder_vocab_size=types,
        d_model=d,
        encoder_layers=len(layers["encoder"]),
        decoder_layers=len(layers["decoder"]),
        encoder_ffn_dim=layers["encoder"][0]["ffn"],
        decoder_ffn_dim=layers["decoder"][0]["ffn"],
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        max_position_embeddings=min(positions(options)),
        eos_token_id=target[END],
        pad_token_id=target[marian_settings.PAD],
        decoder_start_token_id=target[marian_settings.PAD],
        activation_function=_ACTIVATIONS[str(options["activation_fn"])],
        scale_embedding=not options["no_scale_embedding"],
        share_encoder_decoder_embeddings=bool(options["share_all_embeddings"]),
        tie_word_embeddings=bool(
            options["share_all_embeddings"] or options["share_decoder_input_output_embed"]
        ),
        dropout=float(options["dropout"]),
        attention_dropout=float(options["attention_dropout"]),
        activation_dropout=float(options["activation_dropout"]),
    )


def _tensors(model: Model, shape: Shape, source: list[int], target: list[int]) -> dict[str, Tensor]:
    """The parameters by the names of transformers, those that are tied once."""
    made = {
        f"model.{name}": tensor.contiguous() for name, tensor in model.weights.items() if ".layers." in name
    }
    for ours, theirs in bridge.EMBEDDINGS.items():
        made[theirs] = _rows(model.weights[ours], source if ours == bridge.SOURCE else target, shape)
    made[marian.BIAS] = _rows(model.weights[bridge.BIAS], target, shape, bridge.NEVER)[None]
    for first, *others in marian.tied(shape):
        made[first] = made[others[0]]
        for name in others:
            made.pop(name, None)
    return made


def _rows(tensor: Tensor, order: list[int], shape: Shape, missing: float = 0.0) -> Tensor:
    """The rows of a tensor by the numbers of a vocabulary; numbers without a piece are `missing`."""
    rows = tensor.new_full((shape.vocab_size, *tensor.shape[1:]), missing)
    rows[: len(order)] = tensor[order]
    rows[shape.pad_token_id] = tensor[PADDING]
    return rows


def _write_to_translate(config: Config, chain: Chain, folder: Path) -> None:
    """Write what transformers needs to translate text: subwords, and the settings of tokeniser and search."""
    data = config.data_folder(chain)
    subwords, search = Subwords.load(data), config.recipe(chain.recipe).decoding.search
    for ours, theirs in zip(model_files(subwords.settings), MARIAN_PIECES, strict=True):
        shutil.copyfile(data / ours, folder / theirs)
    shape = marian_settings.read_shape(folder)
    source, target = subwords.languages
    separate = (folder / MARIAN_TARGET_VOCABULARY).exists()
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "MarianTokenizer",
            "source_lang": source,
            "target_lang": target,
            "model_max_length": shape.max_position_embeddings,
            "separate_vocabs": separate,
        },
    )
    pad, end = shape.pad_token_id, shape.eos_token_id
    write_json(
        folder / "generation_config.json",
        {
            "bad_words_ids": [[pad]],
            "decoder_start_token_id": pad,
            "eos_token_id": end,
            "forced_eos_token_id": end,
            "length_penalty": search.length_penalty,
            "max_length": shape.max_position_embeddings,
            "num_beams": search.beam,
            "pad_token_id": pad,
        },
    )
