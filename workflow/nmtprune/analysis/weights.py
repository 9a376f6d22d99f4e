"""Where the weights of a model were kept: by class, by LSTM sub-group, by word, and as pictures.

See et al. 2016, section 4.5.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.pruning.classes import class_of, classes, prunable, subgroups
from nmtprune.store import checkpoints
from nmtprune.store.model import SPECIAL_SYMBOLS, read_dictionary

CELLS = 256  # most cells of a picture in height and in width
DECILES = 10
SIDES = ("source", "target")
COLUMNS = ("name", "value", "class", "part", "gate", "connection", "height", "width", "decile", "weights")
# Matrices with one row for each word, and the language of the words.
WORD_TABLES = {
    "encoder.embed_tokens.weight": "source",
    "decoder.embed_tokens.weight": "target",
    "decoder.output_projection.weight": "target",
    "decoder.fc_out.weight": "target",
    "decoder.embed_out": "target",
}
_FILLER = re.compile(r"madeupword\d+")  # pads a dictionary of fairseq to a multiple of eight


def analyse(config: Config, chain: Chain) -> Analysis:
    """The numbers and pictures of a chain's masks; in a dense model all prunable weights count as kept."""
    masks = checkpoints.masks_of(chain)
    if masks is None:
        weights = prunable(checkpoints.state_of(chain), config.recipe(chain.recipe).prunable.embeddings)
        masks = {
            name: torch.ones((), dtype=torch.bool).expand(tensor.shape) for name, tensor in weights.items()
        }
    binarised, task = paths.binarised(config.data_folder(chain)), config.task(chain.task)
    dictionaries = {side: binarised / f"dict.{task.language(side)}.txt" for side in SIDES}
    words = {side: are_words(read_dictionary(file)) for side, file in dictionaries.items()}
    return Analysis(facts(masks, words), pictures(masks))


def are_words(dictionary: Sequence[str]) -> Tensor:
    """True at the entries that are words or subwords, not special symbols or fairseq's fillers."""
    return torch.tensor(
        [entry not in SPECIAL_SYMBOLS and not _FILLER.fullmatch(entry) for entry in dictionary]
    )


def facts(masks: Mapping[str, Tensor], words: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row for each fact, with columns COLUMNS.

    `masks`: True where a weight is kept; `words`: for each side, `are_words` of its dictionary.

    Shares are in percent of `weights`: `kept` of the model, `kept_of_class`, `kept_of_part` (sub-groups
    of an LSTM, other matrices as a whole), `kept_on_diagonal` and `kept_off_diagonal` of square
    sub-groups, `kept_of_decile` of matrices with one row for each word (decile 1: the most frequent
    words). `<side>_words_gone`: the number of words whose embedding has no weight left;
    `<side>_rank_gone`: their mean frequency rank in percent of the vocabulary (100: the rarest), left
    out if there are none.
    """
    rows = [_share("kept", masks.values())]
    for label in classes(masks):
        of_class = {name: mask for name, mask in masks.items() if class_of(name) == label}
        rows.append(_share("kept_of_class", of_class.values()) | {"class": label})
        for part, keys, mask in _parts(of_class):
            height, width = _flat(mask).shape
            rows.append(
                _share("kept_of_part", [mask]) | keys | {"part": part, "height": height, "width": width}
            )
            rows += [row | keys | {"part": part} for row in _diagonal(mask) if "gate" in keys]
        for name, mask in of_class.items():
            if name in WORD_TABLES:
                rows += [
                    row | {"class": label, "part": name} for row in _deciles(mask, words[WORD_TABLES[name]])
                ]
    for side in SIDES:
        rows += _gone(side, _embedding(masks, side), words[side])
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype(dict.fromkeys(("height", "width", "decile", "weights"), "Int64"))


def pictures(masks: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """A picture of every part of a model; parts are named as in `facts`."""
    return {part: picture(mask) for part, _, mask in _parts(masks)}


def picture(mask: Tensor) -> np.ndarray:
    """A matrix as a picture of at most CELLS x CELLS cells: the share of kept weights in each, 0 to 255."""
    matrix = _flat(mask).numpy()
    rows, columns = map(_edges, matrix.shape)
    bands = np.stack([band.sum(0, dtype=np.int32) for band in np.split(matrix, rows[1:-1])])
    counts = np.add.reduceat(bands, columns[:-1], axis=1)
    sizes = np.outer(np.diff(rows), np.diff(columns))
    return np.rint(counts * 255 / sizes).astype(np.uint8)


def _edges(size: int) -> np.ndarray:
    """The boundaries of the cells along an axis of `size` weights; only the last cell may be smaller."""
    return np.append(np.arange(0, size, -(-size // CELLS)), size)


def _flat(mask: Tensor) -> Tensor:
    """A matrix as it is, or the kernels of a convolution as rows of a matrix."""
    return mask.reshape(len(mask), -1)


def _parts(masks: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, str], Tensor]]:
    """Every part of a model: its name, its class (with gate and connection), and its mask."""
    for name, mask in masks.items():
        for subgroup, part in subgroups(name, mask).items():
            yield (
                str(subgroup),
                {"class": subgroup.weight_class, "gate": subgroup.gate, "connection": subgroup.connection},
                part,
            )
        if not subgroups(name, mask):
            yield name, {"class": class_of(name)}, mask


def _share(name: str, masks: Collection[Tensor]) -> dict[str, Any]:
    weights = sum(mask.numel() for mask in masks)
    return {
        "name": name,
        "value": 100 * sum(int(torch.count_nonzero(mask)) for mask in masks) / weights,
        "weights": weights,
    }


def _diagonal(mask: Tensor) -> list[dict[str, Any]]:
    """Kept shares on and off the main diagonal; empty unless the matrix is square and larger than 1 x 1."""
    height, width = mask.shape
    if height != width or height == 1:
        return []
    on, everywhere = int(mask.diagonal().sum()), int(torch.count_nonzero(mask))
    off = height * width - height
    return [
        {"name": "kept_on_diagonal", "value": 100 * on / height, "weights": height},
        {"name": "kept_off_diagonal", "value": 100 * (everywhere - on) / off, "weights": off},
    ]


def _deciles(mask: Tensor, words: Tensor) -> list[dict[str, Any]]:
    """Kept shares of a matrix with one row for each word, by tenths of the words, the most frequent first."""
    tenths = torch.tensor_split(torch.nonzero(words).flatten(), DECILES)
    return [
        _share("kept_of_decile", [mask[rows]]) | {"decile": place}
        for place, rows in enumerate(tenths, 1)
        if len(rows)
    ]


def _embedding(masks: Mapping[str, Tensor], side: str) -> Tensor | None:
    """The mask of a side's embedding, or of the source's if they are tied; None if they are not prunable."""
    source = masks.get("encoder.embed_tokens.weight")
    return source if side == "source" else masks.get("decoder.embed_tokens.weight", source)


def _gone(side: str, mask: Tensor | None, words: Tensor) -> list[dict[str, Any]]:
    """The number of words without any weight left, and their mean frequency rank."""
    if mask is None:
        return [{"name": f"{side}_words_gone", "value": 0}]
    gone = ~mask.any(1)[words]
    rows = [{"name": f"{side}_words_gone", "value": int(gone.sum())}]
    if gone.any():
        ranks = torch.nonzero(gone).double() + 1
        rows.append({"name": f"{side}_rank_gone", "value": 100 * ranks.mean().item() / len(gone)})
    return rows
