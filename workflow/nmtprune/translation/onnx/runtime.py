"""Run a translation model in ONNX Runtime; needs only the model's folder, numpy and onnxruntime.

    translator = Translator("folder")
    translator.translate([["▁a", "▁dog"]], beam=4, length_penalty=1.0, max_length=100)

The folder holds the graphs (encoder.onnx, decoder.onnx, output.onnx, and for a shortlist rows.onnx and
shortlist.onnx), weights.bin, the vocabularies source.txt and target.txt with one piece on each line, and
config.json. Pieces are strings; the end of sentence is added and removed here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime

GPU_PROVIDER = "CUDAExecutionProvider"


class Shortlist(Protocol):
    """The interface of shortlists: which target pieces may translate a batch."""

    def candidates(self, sources: list[list[str]]) -> np.ndarray:
        """Sorted ids of target pieces, special symbols included."""
        ...


def has_gpu() -> bool:
    """Whether this ONNX Runtime can use a GPU: the package is onnxruntime-gpu, on a machine that has one."""
    return GPU_PROVIDER in onnxruntime.get_available_providers()


class Translator:
    """A loaded model that translates batches and scores them. `device`: cpu or cuda."""

    def __init__(
        self,
        folder: str | Path,
        threads: int = 1,
        shortlist: Shortlist | None = None,
        device: str = "cpu",
    ) -> None:
        folder = Path(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._padding, self._end, self._unknown = config["padding"], config["end"], config["unknown"]
        self._start = config.get("start", self._end)
        self._longest = config["max_target_length"]
        self._source = {piece: number for number, piece in enumerate(_lines(folder / "source.txt"))}
        self._target = _lines(folder / "target.txt")
        self._numbers = {piece: number for number, piece in enumerate(self._target)}
        self._encoder, self._decoder, self._output = (
            _session(folder / f"{graph}.onnx", threads, device) for graph in ("encoder", "decoder", "output")
        )
        self._shortlist = shortlist
        if shortlist is not None:
            self._rows, self._shortlisted = (
                _session(folder / f"{graph}.onnx", threads, device) for graph in ("rows", "shortlist")
            )
        inputs = {tensor.name: tensor.shape for tensor in self._decoder.get_inputs()}
        self._states = {
            name: inputs[name]
            for name in inputs
            if name.split(".")[0] in ("self_keys", "self_values", "state")
        }

    def translate(
        self, sources: list[list[str]], beam: int, length_penalty: float, max_length: int
    ) -> list[list[str]]:
        """The best hypothesis of each source of one batch, with at most `max_length` pieces.

        The number of positions of the model is another limit. The beam search is that of fairseq: a
        hypothesis ends where the end of sentence is among the `beam` best candidates, a sentence is
        finished once it has `beam` hypotheses, and the best one has the highest log-probability divided
        by its length (end of sentence included) to the power of `length_penalty`.
        """
        allowed = (
            None
            if self._shortlist is None
            else np.asarray(self._shortlist.candidates(sources), dtype=np.int64)
        )
        output = _Output(self._output) if allowed is None else _Output(self._shortlisted, self._rows, allowed)
        choices = len(self._target) if allowed is None else len(allowed)
        limit, beam = min(max_length, self._longest), min(beam, choices - 2)
        # for each row, so that 2 * beam remain without padding and, in the first step, end of sentence
        count = min(2 * beam + 2, choices)
        decoder, finished = self._encode(sources), _Finished(len(sources), beam, length_penalty)
        sentences = np.arange(len(sources))
        tokens = np.full(len(sources), self._start)
        totals = np.zeros((len(sources), 1), dtype=np.float32)
        history = np.empty((len(sources), limit), dtype=np.int64)
        for step in range(limit + 1):
            candidates, pieces, ends = output(
                decoder.step(tokens), np.full((len(tokens), 1), self._end), count
            )
            first_rows = np.arange(len(sentences))[:, None] * totals.shape[1]
            if step == limit:
                scores = totals + ends.reshape(totals.shape)
                best = np.argsort(-scores, axis=1, kind="stable")
                finished.add(
                    sentences, step, np.take_along_axis(scores, best, axis=1), history, first_rows + best
                )
                break
            candidates[pieces == self._padding] = -np.inf
            if step == 0:
                candidates[pieces == self._end] = -np.inf
            candidates = candidates.reshape(*totals.shape, count) + totals[:, :, None]
            candidates = candidates.reshape(len(sentences), -1)
            best = np.argsort(-candidates, axis=1, kind="stable")[:, : 2 * beam]
            scores = np.take_along_axis(candidates, best, axis=1)
            pieces = np.take_along_axis(pieces.reshape(len(sentences), -1), best, axis=1)
            parents = first_rows + best // count
            ending = pieces == self._end
            finished.add(sentences, step, np.where(ending, scores, -np.inf)[:, :beam], history, parents)
            kept = np.flatnonzero(~finished.complete[sentences])
            if not len(kept):
                break
            # each hypothesis has one end of sentence, so at least `beam` candidates of a sentence continue
            going = np.argsort(ending[kept], axis=1, kind="stable")[:, :beam]
            totals = np.take_along_axis(scores[kept], going, axis=1)
            rows = np.take_along_axis(parents[kept], going, axis=1).ravel()
            tokens = np.take_along_axis(pieces[kept], going, axis=1).ravel()
            decoder.select(rows, kept)
            history = history[rows]
            history[:, step] = tokens
            sentences = sentences[kept]
        return [[self._target[number] for number in hypothesis] for hypothesis in finished.best]

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) for each pair of one batch, over the whole vocabulary."""
        # longest first, so that finished sentences are the last rows
        order = sorted(range(len(targets)), key=lambda index: -len(targets[index]))
        expected, lengths = self._padded([targets[index] for index in order], self._numbers)
        decoder, output = self._encode([sources[index] for index in order]), _Output(self._output)
        totals = np.zeros(len(order))
        tokens = np.full(len(order), self._start)
        for step in range(expected.shape[1]):
            rows = np.arange(np.count_nonzero(lengths > step))
            if len(rows) < len(tokens):
                decoder.select(rows, rows)
            _, _, scores = output(
                decoder.step(tokens[: len(rows)]), expected[: len(rows), step : step + 1], 1
            )
            totals[: len(rows)] -= scores[:, 0]
            tokens = expected[: len(rows), step]
        in_order = [0.0] * len(order)
        for index, total in zip(order, totals.tolist(), strict=True):
            in_order[index] = total
        return in_order

    def _encode(self, sources: list[list[str]]) -> _Decoder:
        tokens, lengths = self._padded(sources, self._source)
        names = [tensor.name for tensor in self._encoder.get_outputs()]
        source = dict(
            zip(names, self._encoder.run(names, {"source": tokens, "source_lengths": lengths}), strict=True)
        )
        # rows come first in a shape; the length of the past, given by a name, is 0
        states = {
            name: np.zeros(
                [len(sources), *(size if isinstance(size, int) else 0 for size in shape[1:])],
                dtype=np.float32,
            )
            for name, shape in self._states.items()
        }
        return _Decoder(self._decoder, source, states)

    def _padded(self, lines: list[list[str]], numbers: dict[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """Piece ids [lines, longest] with end of sentence, padded on the right, and lengths [lines]."""
        lengths = np.array([len(line) + 1 for line in lines], dtype=np.int32)
        tokens = np.full((len(lines), lengths.max()), self._padding, dtype=np.int64)
        for row, line in zip(tokens, lines, strict=True):
            row[: len(line) + 1] = [*(numbers.get(piece, self._unknown) for piece in line), self._end]
        return tokens, lengths


class _Decoder:
    """The decoder's state in a batch: rows are hypotheses, equally many for each sentence."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        source: dict[str, np.ndarray],
        states: dict[str, np.ndarray],
    ) -> None:
        self._session, self._source, self._states = session, source, states
        self._outputs = ["features", *(f"new.{name}" for name in states)]
        self._position = 0

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Features [rows, d] for predicting the pieces that follow `tokens` [rows]."""
        inputs = {"tokens": tokens, "position": np.array([self._position])} | self._source | self._states
        features, *states = self._session.run(self._outputs, inputs)
        self._states = dict(zip(self._states, states, strict=True))
        self._position += 1
        return features

    def select(self, rows: np.ndarray, sentences: np.ndarray) -> None:
        """Continue with these rows in this order, and with these sentences, which keep their order."""
        self._states = _taken(self._states, rows)
        self._source = _taken(self._source, sentences)


class _Output:
    """Scores of the next piece, over all target pieces or over `allowed`, sorted ids of some of them."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        rows: onnxruntime.InferenceSession | None = None,
        allowed: np.ndarray | None = None,
    ) -> None:
        self._session, self._allowed, self._matrix = session, allowed, {}
        if rows is not None:
            names = [tensor.name for tensor in rows.get_outputs()]
            self._matrix = dict(zip(names, rows.run(names, {"pieces": allowed}), strict=True))

    def __call__(
        self, features: np.ndarray, targets: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The `count` best log-probabilities [rows, count], their pieces, and those of `targets`."""
        if self._allowed is not None:
            targets = np.searchsorted(self._allowed, targets)
        inputs = {"features": features, "targets": targets, "count": np.array([count])}
        scores, pieces, chosen = self._session.run(
            ["scores", "pieces", "target_scores"], inputs | self._matrix
        )
        return scores, pieces if self._allowed is None else self._allowed[pieces], chosen


class _Finished:
    """The finished hypotheses of a batch: the first `beam` of each sentence count, and the best is kept."""

    def __init__(self, sentences: int, beam: int, length_penalty: float) -> None:
        self._beam, self._length_penalty = beam, length_penalty
        self._count = np.zeros(sentences, dtype=np.int64)
        self._scores = [-math.inf] * sentences
        self.best: list[list[int]] = [[] for _ in range(sentences)]

    @property
    def complete(self) -> np.ndarray:
        """Which sentences have all their hypotheses, bool [sentences]."""
        return self._count >= self._beam

    def add(
        self, sentences: np.ndarray, length: int, totals: np.ndarray, history: np.ndarray, parents: np.ndarray
    ) -> None:
        """Add hypotheses of `length` pieces and their end.

        `totals`: log-probabilities [active sentences, candidates], the best first, -inf for candidates
        that do not end; `history`: pieces [rows, at least length]; `parents`: the candidates' rows
        [active sentences, candidates].
        """
        for index, candidate in zip(*np.nonzero(totals > -np.inf), strict=True):
            sentence = sentences[index]
            if self._count[sentence] == self._beam:
                continue
            self._count[sentence] += 1
            score = totals[index, candidate] / (length + 1) ** self._length_penalty
            if score > self._scores[sentence]:
                self._scores[sentence] = score
                self.best[sentence] = history[parents[index, candidate], :length].tolist()


def _taken(tensors: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Some rows of all tensors, without a copy if they are the first ones in order, as often with beam 1."""
    if np.array_equal(rows, np.arange(len(rows))):
        return {name: tensor[: len(rows)] for name, tensor in tensors.items()}
    return {name: tensor.take(rows, axis=0) for name, tensor in tensors.items()}


def _session(path: Path, threads: int, device: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # lengths change at every step
    # operators without a kernel for the GPU run on the CPU
    providers = [*[GPU_PROVIDER] * (device == "cuda"), "CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers)


def _lines(path: Path) -> list[str]:
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]
