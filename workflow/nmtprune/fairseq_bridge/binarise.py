"""Write the data folders that `fairseq-train` and `fairseq-generate` open, within this process."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Protocol

import nmtprune.fairseq_bridge.shim  # noqa: F401  (before fairseq)

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, make_builder

from nmtprune.experiment.subwords import SIDES, Side
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, evenly_spaced, write_lines

# fairseq validates on `valid` by default; `fairseq-generate --gen-subset` takes any other name as well.
FAIRSEQ_SPLIT = {"dev": "valid"}

UNKNOWN = Dictionary().unk()
AT_ONCE = 1 << 24  # number of pieces compared at a time


class Subwords(Protocol):
    """The interface of subwords that binarising needs; `data.subwords` implements it."""

    languages: tuple[str, str]

    @property
    def joint_dictionary(self) -> bool: ...

    @property
    def most_types(self) -> int | None: ...

    @property
    def given_dictionaries(self) -> list[Path] | None: ...

    @property
    def trimmed(self) -> bool: ...

    def encode(self, side: Side, line: str) -> str:
        """A line of plain text as pieces separated by spaces."""
        ...


def binarise(text_folder: Path, splits: Sequence[str], subwords: Subwords, folder: Path) -> dict[str, int]:
    """Encode the text of all splits, write it to `folder` with its dictionaries, and return their sizes.

    The sizes are numbers of types by language. A dictionary holds the pieces of the training text, the
    most frequent first. It is not padded to a multiple of 8, so that parameter counts match the
    arithmetic. Dictionaries that came with a model are copied unchanged, or without the pieces that no split
    has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{'-'.join(subwords.languages)}"
    sizes = {}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=folder) as source,
        tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=folder) as target,
    ):
        encoded: dict[Side, IO[str]] = {"source": source, "target": target}
        dictionaries = _dictionaries(text_folder, splits, subwords, encoded)
        for side, language, dictionary in zip(SIDES, subwords.languages, dictionaries, strict=True):
            _save(dictionary, folder / f"dict.{language}.txt")
            for split in splits:
                lines = (
                    _rewound(encoded[side])
                    if split == "train"
                    else _encode(text_folder / f"{split}.{language}", side, subwords)
                )
                name = f"{FAIRSEQ_SPLIT.get(split, split)}.{prefix}.{language}"
                _write(lines, dictionary, folder / name)
            sizes[language] = len(dictionary)
    return sizes


def read_pairs(
    folder: Path, split: str, languages: Sequence[str], most: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The pairs of a split as piece ids without end of sentence: all, or `most` evenly spaced ones."""
    source, target = _sides(folder, split, languages)
    for index in evenly_spaced(len(source), most):
        yield source[index].numpy()[:-1], target[index].numpy()[:-1]


def lengths(folder: Path, split: str, languages: Sequence[str]) -> list[np.ndarray]:
    """Numbers of pieces [sentences] of a split's source and target, end of sentence included."""
    # copied, since the file is closed with its data set
    return [data.sizes.copy() for data in _sides(folder, split, languages)]


def unknown(folder: Path, split: str, languages: Sequence[str]) -> dict[str, float]:
    """The share of unknown pieces in a split, by language, without end of sentence."""
    shares = {}
    for language, data in zip(languages, _sides(folder, split, languages), strict=True):
        pieces = np.frombuffer(data._bin_buffer, data._index.dtype)  # all sentences, concatenated
        parts = (pieces[start : start + AT_ONCE] for start in range(0, len(pieces), AT_ONCE))
        shares[language] = sum(int(np.count_nonzero(part == UNKNOWN)) for part in parts) / max(
            len(pieces) - len(data), 1
        )
    return shares


def _sides(folder: Path, split: str, languages: Sequence[str]) -> list[MMapIndexedDataset]:
    prefix = f"{FAIRSEQ_SPLIT.get(split, split)}.{'-'.join(languages)}"
    return [MMapIndexedDataset(str(folder / f"{prefix}.{language}")) for language in languages]


def _encode(file: Path, side: Side, subwords: Subwords) -> Iterator[str]:
    with open(file, encoding="utf-8", newline="\n") as opened:
        for line in opened:
            yield subwords.encode(side, line.rstrip("\n"))


def _rewound(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return (line.rstrip("\n") for line in file)


def _dictionaries(
    text_folder: Path, splits: Sequence[str], subwords: Subwords, encoded: dict[Side, IO[str]]
) -> list[Dictionary]:
    """The dictionaries of source and target; writes the encoded training text to `encoded` on the way."""
    counts: dict[Side, Counter[str]] = {}
    for side, language in zip(SIDES, subwords.languages, strict=True):
        counts[side] = Counter()
        for pieces in _encode(text_folder / f"train.{language}", side, subwords):
            counts[side].update(pieces.split(" "))
            encoded[side].write(pieces + "\n")
    if subwords.given_dictionaries:
        given = [_load(file) for file in subwords.given_dictionaries]
        if not subwords.trimmed:
            return given
        for side, language in zip(SIDES, subwords.languages, strict=True):
            for split in set(splits) - {"train"}:
                for pieces in _encode(text_folder / f"{split}.{language}", side, subwords):
                    counts[side].update(pieces.split(" "))
        used = [counts[side] for side in SIDES]
        if given[0] == given[1]:
            used = [used[0] + used[1]] * 2
        return [_trimmed(*each) for each in zip(given, used, strict=True)]
    if subwords.joint_dictionary:
        return [_dictionary(counts["source"] + counts["target"], subwords.most_types)] * 2
    return [_dictionary(counts[side], subwords.most_types) for side in SIDES]


def _load(file: Path) -> Dictionary:
    try:
        return Dictionary.load(str(file))
    except Exception as error:  # for a wrong encoding fairseq raises a plain Exception
        raise UserError(f"{file} is not a dictionary of fairseq: {error}") from None


def _save(dictionary: Dictionary, file: Path) -> None:
    """Save a dictionary in fairseq's format.

    A symbol that replaces an earlier one is marked, which fairseq's own `save` omits.
    """
    seen = set(dictionary.symbols[: dictionary.nspecial])
    lines = []
    for symbol, count in list(zip(dictionary.symbols, dictionary.count, strict=True))[dictionary.nspecial :]:
        lines.append(f"{symbol} {count}{' #fairseq:overwrite' if symbol in seen else ''}")
        seen.add(symbol)
    write_lines(file, lines)


def _dictionary(counts: Counter[str], most_types: int | None) -> Dictionary:
    dictionary = Dictionary()
    special = set(dictionary.symbols)
    for piece, count in counts.items():
        if piece and piece not in special:
            dictionary.add_symbol(piece, count)
    dictionary.finalize(nwords=most_types + dictionary.nspecial if most_types else -1, padding_factor=1)
    return dictionary


def _trimmed(dictionary: Dictionary, used: Counter[str]) -> Dictionary:
    """The pieces of a dictionary that are used, in its order."""
    left = Dictionary()
    for symbol, count in list(zip(dictionary.symbols, dictionary.count, strict=True))[dictionary.nspecial :]:
        if used[symbol] and symbol not in left.indices:
            left.add_symbol(symbol, count)
    return left


def _write(lines: Iterator[str], dictionary: Dictionary, prefix: Path) -> None:
    # Special symbols are left out: a text that contains `</s>` must not end the sentence there.
    indices = {piece: index for piece, index in dictionary.indices.items() if index >= dictionary.nspecial}
    unknown, end = dictionary.unk(), [dictionary.eos()]
    with (
        atomic(prefix.with_name(prefix.name + ".bin")) as data,
        atomic(prefix.with_name(prefix.name + ".idx")) as index,
    ):
        builder = make_builder(str(data), "mmap", vocab_size=len(dictionary))
        for pieces in lines:
            ids = (indices.get(piece, unknown) for piece in pieces.split(" ") if piece)
            builder.add_item(torch.tensor(list(chain(ids, end))))
        builder.finalize(str(index))
