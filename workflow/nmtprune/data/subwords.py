"""Subwords: SentencePiece, BPE or plain words, tokenised by Moses or not, joint or for each side."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from nmtprune.experiment import paths
from nmtprune.experiment.imports import TRIM
from nmtprune.experiment.subwords import (
    EXTENSIONS,
    MARKS,
    SIDES,
    Side,
    given_files,
    kind_of,
    model_files,
    with_defaults,
)
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, read_json, write_json, write_lines
from nmtprune.store import marian_settings

_MOST_SENTENCES = 10_000_000  # most sentences for SentencePiece to learn from; it holds them in memory
_LONGEST = 4192  # most bytes of a sentence for SentencePiece to learn from; longer ones are skipped


class _Segmenter(Protocol):
    """Splits a line into pieces, and joins pieces into a line."""

    def split(self, line: str) -> Sequence[str]: ...

    def join(self, pieces: str) -> str: ...


class _Words:
    def split(self, line: str) -> Sequence[str]:
        return line.split()

    def join(self, pieces: str) -> str:
        return pieces


class _SentencePiece:
    def __init__(self, model: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._processor = SentencePieceProcessor(model_file=str(model))
        except (OSError, RuntimeError):
            raise UserError(f"{model} is not a SentencePiece model") from None

    def split(self, line: str) -> Sequence[str]:
        return self._processor.encode(line, out_type=str)

    def join(self, pieces: str) -> str:
        # pieces that the model does not have, as those of a dictionary of both languages, keep their mark
        return self._processor.decode_pieces(pieces.split(" ")).replace(MARKS["sentencepiece"], " ")


class _Bpe:
    def __init__(self, codes: Path) -> None:
        from subword_nmt.apply_bpe import BPE

        with open(codes, encoding="utf-8") as file, contextlib.redirect_stderr(io.StringIO()):
            try:
                self._bpe = BPE(file)
            # subword_nmt exits where a line is not a pair
            except (SystemExit, ValueError, UnicodeDecodeError):
                raise UserError(f"{codes} does not hold BPE codes, a pair of pieces a line") from None

    def split(self, line: str) -> Sequence[str]:
        return self._bpe.segment_tokens(line.split())

    def join(self, pieces: str) -> str:
        return (pieces + " ").replace("@@ ", "").strip()


def segmenter(kind: str, file: Path) -> _Segmenter:
    """The segmenter of this kind of subwords; raises UserError if `file` is not its model."""
    match kind:
        case "sentencepiece":
            return _SentencePiece(file)
        case "bpe":
            return _Bpe(file)
        case _:
            return _Words()


class Subwords:
    """Converts plain text into the space-separated pieces of fairseq's dictionaries, and back.

    A folder holds `subwords.json` (resolved settings and languages) and the models: `joint.*`, or
    `source.*` and `target.*`, with extension `.model` for SentencePiece and `.codes` for BPE. Words have
    no model.
    """

    def __init__(self, folder: Path) -> None:
        """Load what `train` or `given` wrote to `folder`."""
        self.folder = folder
        self.settings = read_json(folder / paths.SUBWORDS)
        self.languages: tuple[str, str] = (self.settings["source"], self.settings["target"])
        models = {
            name: segmenter(self.settings["type"], folder / name) for name in set(model_files(self.settings))
        }
        self._segmenters = {
            side: models[name] for side, name in zip(SIDES, model_files(self.settings), strict=True)
        }
        self._moses: dict[Side, _Moses] = {}
        if self.settings["moses"]:
            self._moses = {
                side: _Moses(language) for side, language in zip(SIDES, self.languages, strict=True)
            }

    @classmethod
    def load(cls, folder: Path) -> Subwords:
        """Load what `train` or `given` wrote to `folder`."""
        return cls(folder)

    @classmethod
    def train(
        cls, settings: Mapping[str, Any], text_folder: Path, languages: tuple[str, str], folder: Path
    ) -> Subwords:
        """Learn the models from the training text and write them to `folder`; equal text gives equal files.

        `settings`: see schemas/subwords.schema.json. Raises UserError if the text is too small for the
        size.
        """
        settings = with_defaults(settings)
        texts = [text_folder / f"train.{language}" for language in languages]
        moses = [_Moses(language) for language in languages] if settings["moses"] else [None, None]
        sides = [(text, tokeniser) for text, tokeniser in zip(texts, moses, strict=True)]
        groups = (
            {"joint": sides}
            if settings["joint"]
            else {side: [text] for side, text in zip(SIDES, sides, strict=True)}
        )
        folder.mkdir(parents=True, exist_ok=True)
        if settings["type"] in EXTENSIONS:
            learn = {"sentencepiece": _learn_sentencepiece, "bpe": _learn_bpe}[settings["type"]]
            for name, group in groups.items():
                with atomic(folder / f"{name}.{EXTENSIONS[settings['type']]}") as file:
                    learn(group, settings, file)
        write_json(folder / paths.SUBWORDS, {**settings, "source": languages[0], "target": languages[1]})
        return cls(folder)

    @classmethod
    def given(cls, settings: Mapping[str, Any], languages: tuple[str, str], folder: Path) -> Subwords:
        """Copy the subwords and dictionaries of a model that was trained elsewhere into `folder`.

        `settings`: `name`; `dictionaries`, a folder with fairseq's dict.<language>.txt; `model`, a
        SentencePiece model (*.model), BPE codes, or None for text that is split at spaces; and `moses`
        (by default true with BPE). Or `marian`, a folder, and `target_code`, a piece that each source begins
        with. `vocabulary`: `trim` for dictionaries of the pieces that the text uses. Raises UserError where a
        file is missing.
        """
        files = given_files(settings, languages)
        for file in files:
            if not file.is_file():
                raise UserError(f"import `{settings['name']}`: there is no file {file}")
        folder.mkdir(parents=True, exist_ok=True)
        take = _take_marian if "marian" in settings else _take_fairseq
        resolved = {**take(settings, files, languages, folder), "given": True}
        if settings.get("vocabulary") == TRIM:
            resolved["trimmed"] = True
        write_json(folder / paths.SUBWORDS, {**resolved, "source": languages[0], "target": languages[1]})
        return cls(folder)

    def encode(self, side: Side, line: str) -> str:
        """A line of plain text as pieces separated by spaces.

        With `reverse_source`, the pieces of a source are in reverse order.
        """
        if side in self._moses:
            line = self._moses[side].tokenise(line)
        pieces = self._segmenters[side].split(line)
        if side == "target":
            return " ".join(pieces)
        if code := self.settings.get("target_code"):
            pieces = [code, *pieces]
        return " ".join(reversed(pieces) if self.settings.get("reverse_source") else pieces)

    def decode(self, pieces: str, side: Side = "target") -> str:
        """Pieces separated by spaces as a line of plain, detokenised text."""
        line = self._segmenters[side].join(pieces)
        return self._moses[side].detokenise(line) if side in self._moses else line

    @property
    def joint_dictionary(self) -> bool:
        """Whether both languages share one dictionary."""
        return self.settings["joint_dictionary"]

    @property
    def most_types(self) -> int | None:
        """The largest number of types in a dictionary, beyond which words are unknown; None if unlimited."""
        return self.settings["size"] if self.settings["type"] == "words" else None

    @property
    def given_dictionaries(self) -> list[Path] | None:
        """The dictionary files of source and target if they came with a model, otherwise None."""
        return (
            [self.folder / f"dict.{language}.txt" for language in self.languages]
            if "given" in self.settings
            else None
        )

    @property
    def trimmed(self) -> bool:
        """Whether given dictionaries lose the pieces that the text does not use."""
        return self.settings.get("trimmed", False)


def _take_fairseq(
    settings: Mapping[str, Any], files: Sequence[Path], languages: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Copy the files of a checkpoint of fairseq; return the settings of its subwords."""
    kind = kind_of(settings.get("model"))
    for file in files[: len(languages)]:
        _copy(file, folder / file.name)
    for model in files[len(languages) :]:
        _copy(model, folder / f"joint.{EXTENSIONS[kind]}")
    return {"type": kind, "joint": True, "moses": settings.get("moses", kind == "bpe")}


def _take_marian(
    settings: Mapping[str, Any], files: Sequence[Path], languages: Sequence[str], folder: Path
) -> dict[str, Any]:
    """Write the vocabularies of a Marian model as dictionaries, and copy its subwords; return their settings.

    Dictionaries say of no piece how often it occurs in the training data.
    """
    theirs = Path(settings["marian"])
    vocabularies = marian_settings.read_vocabularies(theirs, marian_settings.read_shape(theirs))
    for language, vocabulary in zip(languages, vocabularies, strict=True):
        write_lines(
            folder / f"dict.{language}.txt", [f"{piece} 1" for piece in marian_settings.pieces(vocabulary)]
        )
    for side, file in zip(SIDES, files[len(languages) :], strict=True):
        _copy(file, folder / f"{side}.{EXTENSIONS['sentencepiece']}")
    code = {"target_code": settings["target_code"]} if settings.get("target_code") else {}
    return {"type": "sentencepiece", "joint": False, "moses": False, **code}


def _copy(file: Path, to: Path) -> None:
    with atomic(to) as copy:
        shutil.copyfile(file, copy)


class _Moses:
    """Moses' tokeniser and detokeniser, with its escapes."""

    def __init__(self, language: str) -> None:
        from sacremoses import MosesDetokenizer, MosesTokenizer

        self._tokeniser, self._detokeniser = MosesTokenizer(language), MosesDetokenizer(language)

    def tokenise(self, line: str) -> str:
        return self._tokeniser.tokenize(line, return_str=True)

    def detokenise(self, line: str) -> str:
        return self._detokeniser.detokenize(line.split())


_Texts = Sequence[tuple[Path, _Moses | None]]


def _lines(texts: _Texts) -> Iterator[str]:
    for file, moses in texts:
        with open(file, encoding="utf-8", newline="\n") as opened:
            for line in opened:
                yield moses.tokenise(line) if moses else line.rstrip("\n")


def _learn_sentencepiece(texts: _Texts, settings: Mapping[str, Any], file: Path) -> None:
    """Learn a unigram model deterministically: with one thread, from evenly spaced sentences.

    Prints how many sentences are too long. Raises UserError if all are, or if the size does not suit
    them.
    """
    from sentencepiece import SentencePieceTrainer

    total = sum(_number_of_lines(text) for text, _ in texts)
    counts: Counter[str] = Counter()

    def counted() -> Iterator[str]:
        for line in islice(_lines(texts), 0, None, -(-total // _MOST_SENTENCES)):
            counts["too long" if len(line.encode()) > _LONGEST else "learnt from"] += 1
            yield line

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=counted(),
            model_writer=model,
            vocab_size=settings["size"],
            character_coverage=settings["character_coverage"],
            max_sentence_length=_LONGEST,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        if not counts["learnt from"]:
            all_of_them = (
                f"all {counts['too long']:,} lines of the training text have more than {_LONGEST:,} bytes"
            )
            raise UserError(
                f"subwords: {all_of_them}, and SentencePiece learns only from shorter ones: split them"
            ) from None
        reason = str(error).rsplit("] ", 1)[-1].strip() or "it has no piece to learn"
        raise UserError(f"subwords: size {settings['size']} does not suit this corpus: {reason}") from None
    if counts["too long"]:
        learnt = f"subwords are learnt without {counts['too long']:,} of {counts.total():,} lines"
        print(f"{learnt}: they have more than {_LONGEST:,} bytes", flush=True)
    file.write_bytes(model.getvalue())


def _learn_bpe(texts: _Texts, settings: Mapping[str, Any], file: Path) -> None:
    from subword_nmt.learn_bpe import learn_bpe

    words = Counter(chain.from_iterable(line.split() for line in _lines(texts)))
    messages = io.StringIO()
    with open(file, "w", encoding="utf-8", newline="\n") as codes, contextlib.redirect_stderr(messages):
        learn_bpe((f"{word} {count}" for word, count in words.items()), codes, settings["size"], is_dict=True)


def _number_of_lines(file: Path) -> int:
    with open(file, "rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))
