"""A translation model as the engines take it: tensors, options and dictionaries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.imports import MARIAN
from nmtprune.experiment.subwords import END, SPECIAL_SYMBOLS, UNKNOWN
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_lines
from nmtprune.store import checkpoints
from nmtprune.store.fast_path import without_fast_path

PADDING = SPECIAL_SYMBOLS.index("<pad>")


@dataclass(frozen=True)
class Model:
    """A translation model whose masks are applied.

    `weights`: float32 CPU tensors by fairseq's parameter names. `options`: fairseq's flat model options
    (`arch`, `encoder_attention_heads`, ...). The dictionaries: fairseq's symbols in order, the four special
    ones first.
    """

    weights: dict[str, torch.Tensor]
    options: dict[str, Any]
    source_dictionary: list[str]
    target_dictionary: list[str]

    @property
    def max_source_length(self) -> int:
        """The most pieces that a source may have, end of sentence excluded, by the model's positions."""
        return positions(self.options)[0] - 1

    @property
    def max_target_length(self) -> int:
        """The most pieces that a target may have, end of sentence excluded, by the model's positions."""
        return positions(self.options)[1] - 1

    @property
    def start(self) -> str:
        """The symbol that the decoder reads before the first piece."""
        return "<pad>" if self.options.get("start_with_padding") else END


def sinusoids(options: Mapping[str, Any], width: int) -> tuple[int, torch.Tensor]:
    """The first position, and the frequencies [width // 2], of sinusoidal position embeddings.

    An embedding is the sines, then the cosines, of a position times the frequencies. fairseq numbers
    positions from the padding index on; Marian numbers them from 0, with frequencies of its own.
    """
    half = width // 2
    of_marian = options.get("positions") == MARIAN
    step = math.log(10000) / (half if of_marian else half - 1)
    return 0 if of_marian else PADDING + 1, torch.exp(torch.arange(half, dtype=torch.float) * -step)


def positions(options: Mapping[str, Any]) -> tuple[int, int]:
    """Source and target positions in fairseq's options, end of sentence included; 1024 by default."""
    source, target = (int(options.get(f"max_{side}_positions") or 1024) for side in ("source", "target"))
    return source, target


def from_checkpoint(path: str | Path, data_bin: str | Path) -> Model:
    """Read a fairseq checkpoint and the dictionaries of the binarised data it was trained on.

    Raises UserError if the checkpoint is missing, truncated or not fairseq's, or if a dictionary is missing.
    """
    checkpoint = checkpoints.read(Path(path))
    try:
        configuration = checkpoint.get("cfg") or {"model": checkpoint["args"], "task": checkpoint["args"]}
        options, task = map(checkpoints.options_by_name, (configuration["model"], configuration["task"]))
        weights = _single_precision(without_fast_path(checkpoint["model"]))
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"`{path}` is not a checkpoint of a fairseq translation model.") from None
    languages = (task.get("source_lang"), task.get("target_lang"))
    source, target = languages if all(languages) else language_pair(data_bin)
    return Model(
        weights,
        options,
        read_dictionary(Path(data_bin) / f"dict.{source}.txt"),
        read_dictionary(Path(data_bin) / f"dict.{target}.txt"),
    )


def of_chain(config: Config, chain: Chain) -> Model:
    """A chain's model, with its masks applied if its last step only selects weights.

    Raises UserError if the model or its data is missing.
    """
    model = from_checkpoint(paths.checkpoint_of(chain), paths.binarised(config.data_folder(chain)))
    masks = checkpoints.masks_of(chain) if chain.last.kind.selects else None
    return replace(model, weights=checkpoints.masked(model.weights, masks))


def pieces_of(encoded: str) -> list[str]:
    """The pieces of an encoded line as the binarised data has them.

    A piece that spells a special symbol counts as unknown, so that it cannot end the sentence.
    """
    return [UNKNOWN if piece in SPECIAL_SYMBOLS else piece for piece in encoded.split()]


def language_pair(data_bin: str | Path) -> tuple[str, str]:
    """Source and target language of a folder of binarised data, from its file names (`train.en-de.en.idx`).

    Raises UserError if there is no such file.
    """
    for file in sorted(Path(data_bin).glob("*.*-*.*.idx")):
        source, target = file.name.split(".")[1].split("-")
        return source, target
    raise UserError(
        f"folder `{data_bin}` holds no binarised data of a language pair (`train.en-de.en.idx` and so on)."
    )


def read_dictionary(path: str | Path) -> list[str]:
    """The symbols of a fairseq dictionary file in order, the special symbols first, all of them distinct.

    A symbol that a later entry overrides (`#fairseq:overwrite`), and a special symbol that is listed again,
    get their position as a suffix. Raises UserError if there is no such file.
    """
    if not Path(path).is_file():
        raise UserError(
            f"dictionary `{path}` does not exist: name the binarised data that the model was trained on."
        )
    entries = (line.removesuffix(" #fairseq:overwrite") for line in read_lines(path))
    symbols = [*SPECIAL_SYMBOLS, *(entry.rsplit(" ", 1)[0] for entry in entries if entry)]
    numbers = {symbol: number for number, symbol in enumerate(symbols)} | {
        symbol: n for n, symbol in enumerate(SPECIAL_SYMBOLS)
    }
    return [
        symbol if numbers[symbol] == number else f"{symbol}#{number}" for number, symbol in enumerate(symbols)
    ]


def _single_precision(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict in float32; tied tensors stay tied."""
    converted: dict[Any, torch.Tensor] = {}
    return {
        name: converted.setdefault(
            (tensor.data_ptr(), tensor.shape) if tensor.numel() else name, tensor.float()
        )
        for name, tensor in weights.items()
    }
