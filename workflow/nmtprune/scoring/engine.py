"""What translates and scores: one interface, three engines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nmtprune.errors import UserError
from nmtprune.scoring.model import Model
from nmtprune.scoring.shortlist import Shortlist

ENGINES = ("auto", "ctranslate2", "onnx", "fairseq")
PRECISIONS = ("float32", "int8")


@dataclass(frozen=True)
class Search:
    """Beam search with the meaning and the defaults of fairseq-generate.

    A hypothesis' score is its log-probability over its length (end of sentence included) to the power `length_penalty`;
    it has at most `max_len_a * source length + max_len_b` pieces, where fairseq counts the source's end of sentence in.
    `replace_unknowns`: each unknown piece of a hypothesis becomes the source piece that was attended to most, as it is spelt in the
    source. Luong et al. (2015, 4.1) looked that word up in a dictionary where it has it; we always copy.
    """

    beam: int = 5
    length_penalty: float = 1.0
    max_len_a: float = 0.0
    max_len_b: int = 200
    replace_unknowns: bool = False

    def max_length(self, source_length: int) -> int:
        """The longest hypothesis, in pieces, of a source of `source_length` pieces."""
        return int(self.max_len_a * (source_length + 1) + self.max_len_b)


class Engine(Protocol):
    """A loaded model. Pieces are strings; end of sentence is added and removed by the engine."""

    name: str

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """The best hypothesis of each non-empty source of one batch, at most `max_length` pieces each, and never more than the decoder has
        positions for: a limit that every engine keeps itself."""

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """-ln p(target, end of sentence | source) of each pair of one batch."""


def open_engine(
    model: Model,
    name: str = "auto",
    threads: int = 1,
    device: str = "auto",
    precision: str = "float32",
    shortlist: Shortlist | None = None,
) -> Engine:
    """The engine called `name` with `model` loaded; `auto` is CTranslate2 where it takes the model, else ONNX Runtime, else fairseq.

    `device` (auto, cpu, cuda) is fairseq's; the other two run on the CPU, in float32 or int8, and search the shortlist's candidates
    alone where there is one. Raises UserError for an unknown engine or precision, and where the engine cannot do what is asked for.
    """
    for what, value, valid in (("scoring engine", name, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in valid:
            raise UserError(f"unknown {what} `{value}`; valid: {', '.join(valid)}.")
    wish = "int8" if precision == "int8" else "a shortlist" if shortlist is not None else None
    if name == "fairseq" and wish:
        raise UserError(f"engine `fairseq` has no {wish.removeprefix('a ')}; valid: {', '.join(_FAST)}.")
    reasons = {}
    for fast in _FAST if name == "auto" else () if name == "fairseq" else (name,):
        supports, make = _FAST[fast]()
        reasons[fast] = supports(model)
        if reasons[fast] is None:
            return make(model, threads, precision, shortlist)
    if name in _FAST:
        others = [other for other in ENGINES if other != name and not (wish and other == "fairseq")]
        raise UserError(f"engine `{name}` cannot run this model: {reasons[name]}; use {_either(others)}.")
    if wish:
        why = "; ".join(f"`{fast}`: {reason}" for fast, reason in reasons.items())
        raise UserError(f"no engine with {wish} can run this model ({why}); use `fairseq` in float32 and without a shortlist.")
    from nmtprune.toolkit.generate import FairseqEngine

    return FairseqEngine(model, device)


def bytes_in_8_bits(model: Model, name: str, folder: Path) -> int:
    """Bytes of the files that an engine runs a model in 8 bits from; they are written into a temporary folder in `folder`."""
    if name == "ctranslate2":  # engines are imported where they are asked for: their libraries take long to load
        from nmtprune.scoring.ctranslate2_engine import save
    else:
        from nmtprune.scoring.onnx_engine import save
    with tempfile.TemporaryDirectory(dir=folder) as files:
        save(model, Path(files), "int8")
        return sum(file.stat().st_size for file in Path(files).rglob("*") if file.is_file())


def _ctranslate2() -> tuple[Callable[[Model], str | None], Callable[..., Engine]]:
    from nmtprune.scoring import ctranslate2_engine

    return ctranslate2_engine.supports, ctranslate2_engine.CTranslate2Engine


def _onnx() -> tuple[Callable[[Model], str | None], Callable[..., Engine]]:
    from nmtprune.scoring import onnx_engine

    return onnx_engine.supports, onnx_engine.OnnxEngine


_FAST = {"ctranslate2": _ctranslate2, "onnx": _onnx}


def _either(names: list[str]) -> str:
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]])
