"""Lexical shortlists: the small set of target pieces that may occur in the translation of a batch.

Behnke & Heafield (2021, 4.1) translate "using shortlists of top 50 words": for each source piece the
target pieces most often aligned to it in the training data, and always the most frequent target pieces.
The output layer and its softmax are restricted to these candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, write_lines

if TYPE_CHECKING:
    from thot.alignment import AlignmentModel

SPECIAL = 4  # number of special symbols, which come first in both dictionaries
MOST_PAIRS = 2_000_000  # most pairs of the training data to align, evenly spaced
LONGEST = 200  # most pieces on each side of a pair to align
SEED = 1


@dataclass(frozen=True)
class Shortlist:
    """Candidate target pieces for each source piece.

    `source_pieces` and `target_pieces` are the dictionaries. `targets[starts[i]:starts[i + 1]]` are the
    target ids of source piece i, the most probable first. `always` are the sorted ids that every batch
    gets, special symbols included.
    """

    source_pieces: np.ndarray
    target_pieces: np.ndarray
    starts: np.ndarray
    targets: np.ndarray
    always: np.ndarray

    @classmethod
    def load(cls, path: str | Path) -> Shortlist:
        """Read what `save` wrote; raises UserError if there is no such file or it holds something else."""
        try:
            with np.load(path) as file:
                return cls(**{name: file[name] for name in cls.__dataclass_fields__})
        except (OSError, EOFError, ValueError, KeyError, BadZipFile):
            raise UserError(f"`{path}` is not a shortlist; make it again from the training data.") from None

    def save(self, path: str | Path) -> None:
        """Write a .npz file; equal shortlists give equal files."""
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    def candidates(self, sources: Iterable[Sequence[str]]) -> np.ndarray:
        """The sorted target ids [candidates] for a batch of sources: those of all its pieces, and `always`.

        A piece that is not in the dictionary has no candidates of its own.
        """
        ids = {self._ids[piece] for source in sources for piece in source if piece in self._ids}
        return np.unique(np.concatenate([self.always, *(self._of(piece) for piece in sorted(ids))]))

    def as_vmap(self, path: str | Path) -> None:
        """Write CTranslate2's vocabulary map: on each line a source piece, a tab, and its candidates.

        The line with an empty source piece lists the candidates of every batch. CTranslate2 4 keeps the
        ids of earlier batches when it maps ids to the reduced output. That is harmless as long as the
        pieces it looks up, the special symbols, come first in every batch.
        """
        lines = ["\t" + " ".join(self.target_pieces[self.always])]
        for piece in range(SPECIAL, len(self.source_pieces)):
            if len(self._of(piece)):
                lines.append(f"{self.source_pieces[piece]}\t{' '.join(self.target_pieces[self._of(piece)])}")
        write_lines(path, lines)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {piece: index for index, piece in enumerate(self.source_pieces.tolist()) if index >= SPECIAL}

    def _of(self, piece: int) -> np.ndarray:
        return self.targets[self.starts[piece] : self.starts[piece + 1]]


def make_shortlist(data_bin: str | Path, path: str | Path, top: int = 50, frequent: int = 100) -> None:
    """Align the training data of a folder of binarised data and write the shortlist.

    `top`: most candidates of a source piece. `frequent`: number of the most frequent target pieces that
    are always candidates. At most MOST_PAIRS evenly spaced pairs are aligned, without those longer than
    LONGEST pieces. Equal data give equal files, with any number of threads. Raises UserError if sil-thot
    is missing or no pair is left.
    """
    from nmtprune.fairseq_bridge.binarise import read_pairs  # noqa: PLC0415 - fairseq takes seconds
    from nmtprune.store.model import language_pair, read_dictionary  # noqa: PLC0415 - PyTorch takes seconds

    folder = Path(data_bin)
    languages = language_pair(folder)
    source, target = (read_dictionary(folder / f"dict.{language}.txt") for language in languages)
    pairs = read_pairs(folder, "train", languages, MOST_PAIRS)
    shortlist_of(pairs, source, target, top, frequent).save(path)


def shortlist_of(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    source_pieces: Sequence[str],
    target_pieces: Sequence[str],
    top: int = 50,
    frequent: int = 100,
) -> Shortlist:
    """The shortlist of sentence pairs, given as piece ids without end of sentence; see `make_shortlist`.

    The aligner is that of eflomal (Östling & Tiedemann 2016): Gibbs sampling of IBM model 1, then the
    HMM, then fertilities.
    """
    try:
        from thot.alignment import EflomalAlignmentModel
    except ImportError:
        raise UserError(
            "shortlists need the aligner of `sil-thot`, which is not installed: pip install sil-thot."
        ) from None
    aligner = EflomalAlignmentModel()
    aligner.seed, aligner.deterministic = SEED, True
    counts = np.zeros(len(target_pieces), dtype=np.int64)
    for source, target in pairs:
        if 0 < len(source) <= LONGEST and 0 < len(target) <= LONGEST:
            aligner.add_sentence_pair(
                [str(piece) for piece in source.tolist()], [str(piece) for piece in target.tolist()]
            )
            np.add.at(counts, target, 1)
    if not aligner.num_sentence_pairs:
        raise UserError(
            f"a shortlist needs training data with sentences of 1 to {LONGEST} pieces, and there is none."
        )
    aligner.start_training()
    for _ in range(aligner.scheduled_iterations):
        aligner.train()
    aligner.end_training()
    counts[:SPECIAL] = 0
    most_frequent = np.argsort(-counts, kind="stable")[: min(frequent, np.count_nonzero(counts))]
    translations = [_translations(aligner, piece)[:top] for piece in range(len(source_pieces))]
    return Shortlist(
        np.array(source_pieces),
        np.array(target_pieces),
        np.cumsum([0, *map(len, translations)]),
        np.array([target for targets in translations for target in targets], dtype=np.int64),
        np.union1d(np.arange(SPECIAL), most_frequent),
    )


def _translations(aligner: AlignmentModel, piece: int) -> list[int]:
    """The target ids aligned to a source id, the most probable first, without special symbols.

    Empty for a special symbol.
    """
    if piece < SPECIAL or not aligner.src_word_exists(str(piece)):
        return []
    likely = aligner.get_translations(aligner.get_src_word_index(str(piece)))
    named = ((-probability, aligner.get_trg_word(word)) for word, probability in likely if probability > 0)
    # words that are not numbers are thot's own, such as the null word
    ordered = sorted((rank, int(word)) for rank, word in named if word.isdigit())
    return [target for _, target in ordered if target >= SPECIAL]
