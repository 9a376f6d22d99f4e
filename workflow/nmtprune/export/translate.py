#!/usr/bin/env python3
"""Translate raw text from standard input to standard output, one line out for each line in, in order.

    ./translate < source.txt > target.txt

Lines end at newline characters alone. An empty line stays empty; bytes that are not UTF-8 are read as U+FFFD.
The command needs the files beside it and the packages of requirements.txt, nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
BUFFER = 2048  # lines that are read, sorted by length and translated together

_FOLDER = Path(__file__).resolve().parent
_SENTENCE_END = re.compile(r"(?<=[.!?…。！？؟।])[\"'”’»)\]]*\s+")
_SPACE = re.compile(r"\s+")

Pieces = list[str]


class Subwords:
    """From text to pieces and back.

    `settings`: `type`, `moses`, `reverse_source`, `languages` and `files` of source and target, and
    `target_code`, a piece that each source begins with.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._split, self._join = _segmentation(
            settings["type"], *(folder / file for file in settings["files"])
        )
        self._step = -1 if settings.get("reverse_source") else 1
        self._code = [settings["target_code"]] if "target_code" in settings else []
        if settings["moses"]:
            from sacremoses import MosesDetokenizer, MosesTokenizer

            source, target = settings["languages"]
            split, join, tokeniser, detokeniser = (
                self._split,
                self._join,
                MosesTokenizer(source),
                MosesDetokenizer(target),
            )
            self._split = lambda line: split(tokeniser.tokenize(line, return_str=True))
            self._join = lambda pieces: detokeniser.detokenize(join(pieces).split())

    def encode(self, line: str) -> Pieces:
        """The pieces of a source line; a piece that spells a special symbol becomes `<unk>`."""
        return [
            "<unk>" if piece in SPECIAL_SYMBOLS else piece
            for piece in [*self._code, *" ".join(self._split(line)).split()]
        ][:: self._step]

    def decode(self, pieces: Pieces) -> str:
        """The text of a translation, on one line."""
        return " ".join(self._join(pieces).splitlines()) if pieces else ""


def _segmentation(
    kind: str, source: Path, target: Path
) -> tuple[Callable[[str], Sequence[str]], Callable[[Pieces], str]]:
    """Two functions: one splits a source line into pieces, the other joins the pieces of a target line."""
    if kind == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        splits, joins = (
            SentencePieceProcessor(model_file=str(source)),
            SentencePieceProcessor(model_file=str(target)),
        )
        # pieces that the model does not have, as those of a dictionary of both languages, keep their mark
        return (
            lambda line: splits.encode(line, out_type=str),
            lambda pieces: joins.decode_pieces(pieces).replace("\u2581", " "),
        )
    if kind == "bpe":
        from subword_nmt.apply_bpe import BPE

        with open(source, encoding="utf-8") as codes:
            bpe = BPE(codes)
        return (
            lambda line: bpe.segment_tokens(line.split()),
            lambda pieces: (" ".join(pieces) + " ").replace("@@ ", "").strip(),
        )
    return str.split, " ".join


class NoGpuError(Exception):
    """A GPU is asked for, and the engine has none to use."""


def _check(device: str, has_gpu: Callable[[], bool], engine: str) -> None:
    if device == "cuda" and not has_gpu():
        raise NoGpuError(f"there is no GPU here that {engine} can use; valid: cpu")


class CTranslate2:
    """The model in CTranslate2."""

    def __init__(
        self, folder: Path, threads: int, search: dict[str, Any], shortlist: bool, device: str
    ) -> None:
        from ctranslate2_runtime import Translator, has_gpu  # pyright: ignore[reportMissingImports] - lies in the folder

        _check(device, has_gpu, "CTranslate2")
        self._translator, self._search = Translator(folder, threads, shortlist, device), search

    def __call__(self, sources: list[Pieces], max_length: int) -> list[Pieces]:
        """The best translation of each source of a batch, in at most `max_length` pieces."""
        search = self._search
        return self._translator.translate(
            sources, search["beam"], search["length_penalty"], max_length, search["replace_unknowns"]
        )


class Onnx:
    """The model in ONNX Runtime."""

    def __init__(
        self, folder: Path, threads: int, search: dict[str, Any], shortlist: bool, device: str
    ) -> None:
        from onnx_runtime import Translator, has_gpu  # pyright: ignore[reportMissingImports] - lies in the folder

        _check(device, has_gpu, "ONNX Runtime (its package onnxruntime-gpu)")
        self._translator = Translator(
            folder, threads, Shortlist(folder / "shortlist.npz") if shortlist else None, device
        )
        self._search = search

    def __call__(self, sources: list[Pieces], max_length: int) -> list[Pieces]:
        """The best translation of each source of a batch, in at most `max_length` pieces."""
        return self._translator.translate(
            sources, self._search["beam"], self._search["length_penalty"], max_length
        )


class Shortlist:
    """The target pieces that translations of a batch may consist of."""

    def __init__(self, path: Path) -> None:
        import numpy  # noqa: PLC0415 - a folder for CTranslate2 does not require it

        with numpy.load(path) as file:
            self._starts, self._targets, self._always = file["starts"], file["targets"], file["always"]
            ids = {piece: number for number, piece in enumerate(file["source_pieces"].tolist())}
        self._ids = {piece: number for piece, number in ids.items() if piece not in SPECIAL_SYMBOLS}
        self._union = lambda arrays: numpy.unique(numpy.concatenate(arrays))

    def candidates(self, sources: list[Pieces]) -> Any:
        """Sorted ids of the target pieces for a batch of sources.

        They are the pieces that each source piece is aligned to most often, and those that every batch may
        use.
        """
        ids = {self._ids[piece] for source in sources for piece in source if piece in self._ids}
        return self._union(
            [self._always, *(self._targets[self._starts[piece] : self._starts[piece + 1]] for piece in ids)]
        )


class Translation:
    """From lines to lines.

    `settings`: the contents of config.json; `engine`: translates batches of pieces.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        subwords: Subwords,
        engine: Callable[[list[Pieces], int], list[Pieces]],
    ) -> None:
        self._settings, self._subwords, self._engine = settings, subwords, engine
        self._told = False

    def lines(self, lines: list[str]) -> list[str]:
        """The translation of each line; a line that is too long for the model is translated in parts."""
        parts = [self._parts(line) for line in lines]
        sources = [part for each in parts for part in each]
        hypotheses = iter(self._hypotheses(sources))
        return [" ".join(filter(None, islice(hypotheses, len(each)))) for each in parts]

    def _parts(self, line: str) -> list[Pieces]:
        if not line.strip():
            return []
        parts = in_parts(line, self._subwords.encode, self._settings["max_source_length"])
        if len(parts) > 1 and not self._told:
            self._told = True
            limit = self._settings["max_source_length"]
            print(
                f"translate: lines of more than {limit} pieces are translated in parts, cut at sentence ends "
                "or spaces",
                file=sys.stderr,
            )
        return parts

    def _hypotheses(self, sources: list[Pieces]) -> list[str]:
        translations = [""] * len(sources)
        search = self._settings["search"]
        for batch in batches([len(source) for source in sources], **self._settings["batch"]):
            longest = max(len(sources[index]) for index in batch)
            limit = int(search["max_len_a"] * (longest + 1) + search["max_len_b"])
            for index, pieces in zip(
                batch, self._engine([sources[index] for index in batch], limit), strict=True
            ):
                translations[index] = self._subwords.decode(pieces)
        return translations


def in_parts(text: str, encode: Callable[[str], Pieces], longest: int) -> list[Pieces]:
    """The pieces of a text in parts of at most `longest` pieces.

    The text is cut near its middle: at a sentence's end, at a space, or anywhere, whichever is possible
    first.
    """
    pieces = encode(text)
    if len(pieces) <= longest or len(text) == 1:
        return [pieces[:longest]]
    at = _middle(text)
    return in_parts(text[:at], encode, longest) + in_parts(text[at:], encode, longest)


def _middle(text: str) -> int:
    """The place at which a text of two or more characters is cut."""
    half = len(text) // 2
    for ends, margin in ((_SENTENCE_END, half // 2), (_SPACE, 0)):
        places = [match.end() for match in ends.finditer(text) if margin < match.end() < len(text) - margin]
        if places:
            return min(places, key=lambda place: abs(place - half))
    return half


def batches(lengths: list[int], sentences: int, pieces: int) -> Iterator[list[int]]:
    """Batches of the indices of non-empty sources, longest first.

    A batch has at most `sentences` sentences and at most `pieces` pieces, padding included.
    """
    batch: list[int] = []
    for index in sorted(
        (index for index, length in enumerate(lengths) if length), key=lambda index: -lengths[index]
    ):
        if batch and (len(batch) == sentences or (len(batch) + 1) * (lengths[batch[0]] + 1) > pieces):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def text_of(line: bytes) -> str:
    """A line of the input without its line end and without a byte order mark."""
    return line.decode("utf-8", errors="replace").rstrip("\r\n").removeprefix("\ufeff")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return int(text)


def _arguments(settings: dict[str, Any]) -> argparse.Namespace:
    buffer = 1 if sys.stdin.isatty() else BUFFER
    parser = argparse.ArgumentParser(
        prog="translate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, what in (
        ("beam", settings["search"]["beam"], "size of the beam"),
        ("batch", settings["batch"]["sentences"], "most sentences of a batch"),
        ("threads", 1, "threads of the engine"),
        ("longest", settings["max_source_length"], "most pieces that are translated in one part"),
        ("buffer", buffer, "lines that are read before any is translated"),
    ):
        parser.add_argument(
            f"--{name}", type=_positive, default=default, metavar="N", help=f"{what} (default: {default})"
        )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="where the engine computes; cuda: on a GPU (default: cpu)",
    )
    return parser.parse_args()


def main() -> int:
    """Translate standard input with the model in this folder, by the options of the command line."""
    for name in ("SIGINT", "SIGPIPE"):  # end silently if interrupted, or if nobody reads the output
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    settings = json.loads((_FOLDER / "config.json").read_text(encoding="utf-8"))
    arguments = _arguments(settings)
    settings["search"]["beam"] = arguments.beam
    settings["batch"]["sentences"] = arguments.batch
    settings["max_source_length"] = min(arguments.longest, settings["max_source_length"])
    sys.path.insert(0, str(_FOLDER))
    try:
        subwords = Subwords(_FOLDER / "subwords", settings["subwords"])
        engine = {"ctranslate2": CTranslate2, "onnx": Onnx}[settings["engine"]]
        loaded = engine(
            _FOLDER / "model", arguments.threads, settings["search"], settings["shortlist"], arguments.device
        )
    except ImportError as error:
        print(f"translate: {error}; pip install -r {_FOLDER / 'requirements.txt'}", file=sys.stderr)
        return 2
    except NoGpuError as error:
        print(f"translate: --device: {error}", file=sys.stderr)
        return 2
    translation = Translation(settings, subwords, loaded)
    while lines := [text_of(line) for line in islice(sys.stdin.buffer, arguments.buffer)]:
        written = "".join(f"{line}\n" for line in translation.lines(lines)).encode("utf-8")
        try:
            sys.stdout.buffer.write(written)
            sys.stdout.buffer.flush()
        except OSError as error:
            print(f"translate: the output cannot be written: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(1)  # a normal exit would try to write the rest once more, and fail with a traceback
    return 0


if __name__ == "__main__":
    sys.exit(main())
