"""The weights of Marian models in the format of transformers, such as OPUS-MT: read and checked.

Nothing in a file is run. Names of parameters are those of transformers' MarianMTModel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nmtprune.experiment.imports import MARIAN, MARIAN_CONFIG, MARIAN_WEIGHTS, weights_of_marian
from nmtprune.foundation.errors import UserError
from nmtprune.store.marian_settings import CLASS, Shape
from nmtprune.store.model import sinusoids

BIAS = "final_logits_bias"
SHARED, SOURCE, TARGET, OUTPUT = (
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
_POSITIONS = tuple(f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder"))
_CLOSE = 1e-2  # largest difference of position embeddings in the file, which may be in half precision


def read_weights(folder: Path, shape: Shape) -> dict[str, Tensor]:
    """The parameters in single precision, without positions; each of the tied ones is there.

    Raises UserError if the file is damaged, or does not hold the parameters of this shape.
    """
    file = weights_of_marian(folder)
    tensors = _tensors(file)
    for name in _POSITIONS:
        if name in tensors:
            _check_positions(file, name, tensors.pop(name), shape)
    expected = shapes(shape)
    for names in tied(shape):
        if first := next((name for name in names if name in tensors), None):
            tensors |= dict.fromkeys(names, tensors[first])
    tensors.setdefault(BIAS, torch.zeros(expected[BIAS]))
    if odd := sorted(tensors.keys() ^ expected.keys()):
        what = "is missing" if odd[0] in expected else f"is not a parameter of a {CLASS}"
        raise UserError(f"{file}: `{odd[0]}` {what} with the settings of {folder / MARIAN_CONFIG}")
    for name, sizes in expected.items():
        if tuple(tensors[name].shape) != sizes:
            raise UserError(
                f"{file}: `{name}` has the shape {tuple(tensors[name].shape)}, and {sizes} by "
                f"{folder / MARIAN_CONFIG}"
            )
    made: dict[int, Tensor] = {}  # tied tensors stay tied
    return {name: made.setdefault(id(tensor), tensor.float()) for name, tensor in tensors.items()}


def shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The shapes of all parameters by name."""
    d, types = shape.d_model, shape.vocab_size
    made: dict[str, tuple[int, ...]] = dict.fromkeys((SOURCE, TARGET, OUTPUT), (types, d))
    if shape.share_encoder_decoder_embeddings:
        made[SHARED] = (types, d)
    made[BIAS] = (1, types)
    sides = (
        ("encoder", shape.encoder_layers, shape.encoder_ffn_dim, ("self_attn",)),
        ("decoder", shape.decoder_layers, shape.decoder_ffn_dim, ("self_attn", "encoder_attn")),
    )
    for side, layers, ffn, attentions in sides:
        for layer in (f"model.{side}.layers.{number}" for number in range(layers)):
            linear = {f"{each}.{part}_proj": (d, d) for each in attentions for part in ("k", "v", "q", "out")}
            linear |= {"fc1": (ffn, d), "fc2": (d, ffn)}
            for name, sizes in linear.items():
                made |= {f"{layer}.{name}.weight": sizes, f"{layer}.{name}.bias": sizes[:1]}
            for name in (*(f"{each}_layer_norm" for each in attentions), "final_layer_norm"):
                made |= {f"{layer}.{name}.{part}": (d,) for part in ("weight", "bias")}
    return made


def tied(shape: Shape) -> Iterator[tuple[str, ...]]:
    """Names of one tensor each; the first that a file holds counts."""
    output = (OUTPUT,) if shape.tie_word_embeddings else ()
    if shape.share_encoder_decoder_embeddings:
        yield SHARED, SOURCE, TARGET, *output
    elif output:
        yield TARGET, OUTPUT


def _check_positions(file: Path, name: str, table: Tensor, shape: Shape) -> None:
    first, frequencies = sinusoids({"positions": MARIAN}, shape.d_model)
    angles = torch.arange(first, first + shape.max_position_embeddings)[:, None] * frequencies
    expected = torch.cat([angles.sin(), angles.cos()], dim=1)
    if table.shape != expected.shape or (table.float() - expected).abs().max() > _CLOSE:
        raise UserError(f"{file}: `{name}` does not hold Marian's sinusoidal positions")


def _tensors(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise UserError(f"{file.parent} has no weights; valid: {', '.join(MARIAN_WEIGHTS)}")
    if file.suffix != ".safetensors":
        return _unpickled(file)
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is not a whole file of safetensors: {error}") from None


def _unpickled(file: Path) -> dict[str, Tensor]:
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises anything for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file} is not a file of weights alone, or is damaged: {reason}") from None
    if not isinstance(tensors, Mapping) or not all(isinstance(each, Tensor) for each in tensors.values()):
        raise UserError(f"{file} does not hold tensors by name")
    return dict(tensors)
