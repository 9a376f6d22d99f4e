"""The engine ONNX Runtime for Transformers of any shape, in float32 or int8."""

from __future__ import annotations

import tempfile
from pathlib import Path

from nmtprune.experiment.search import Search
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json, write_lines
from nmtprune.store.model import END, PADDING, SPECIAL_SYMBOLS, UNKNOWN, Model
from nmtprune.translation.onnx import graph as onnx_graph
from nmtprune.translation.onnx import runtime
from nmtprune.translation.onnx.runtime import Shortlist, Translator
from nmtprune.translation.parameters import NotATransformer

PACKAGES = ("numpy", "onnxruntime")
RUNTIME = runtime


class OnnxEngine:
    """A Transformer loaded into ONNX Runtime.

    `precision`: float32 or int8 (weights are quantised by row, activations dynamically).
    """

    name = "onnx"

    def __init__(
        self,
        model: Model,
        threads: int = 1,
        precision: str = "float32",
        shortlist: Shortlist | None = None,
        device: str = "cpu",
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="nmtprune-") as folder:
            save(model, folder, precision)
            self.translator = Translator(folder, threads, shortlist, device)

    @classmethod
    def load(
        cls, folder: str | Path, threads: int = 1, shortlist: Shortlist | None = None, device: str = "cpu"
    ) -> OnnxEngine:
        """The engine for a folder that `save` has written."""
        engine = cls.__new__(cls)
        engine.translator = Translator(folder, threads, shortlist, device)
        return engine

    def translate(self, sources: list[list[str]], search: Search, max_length: int) -> list[list[str]]:
        """See the interface.

        Raises UserError if unknowns are to be replaced, since the graphs do not return attention
        weights.
        """
        if search.replace_unknowns:
            raise UserError(
                "decoding: engine `onnx` cannot replace unknowns; set replace_unknowns to false or use "
                "engine `fairseq`."
            )
        return self.translator.translate(sources, search.beam, search.length_penalty, max_length)

    def negative_log_likelihoods(self, sources: list[list[str]], targets: list[list[str]]) -> list[float]:
        """See the interface."""
        return self.translator.negative_log_likelihoods(sources, targets)


ENGINE = OnnxEngine


def supports(model: Model) -> str | None:
    """The reason why ONNX Runtime cannot run `model` as fairseq would; None if it can."""
    try:
        onnx_graph.build(model)
    except NotATransformer as reason:
        return str(reason)
    return None


def save(model: Model, folder: str | Path, precision: str = "float32") -> None:
    """Write the files that `onnx.runtime.Translator` loads; raises UserError for an unsupported model."""
    try:
        graphs, weights = onnx_graph.build(model, precision)
    except NotATransformer as reason:
        raise UserError(f"engine `onnx` cannot run this model: {reason}; use `fairseq` or `auto`.") from None
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights.write(folder / onnx_graph.WEIGHTS)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    write_lines(folder / "source.txt", model.source_dictionary)
    write_lines(folder / "target.txt", model.target_dictionary)
    numbers: dict[str, int] = {
        "padding": PADDING,
        "end": SPECIAL_SYMBOLS.index(END),
        "unknown": SPECIAL_SYMBOLS.index(UNKNOWN),
    }
    if model.start != END:
        numbers["start"] = SPECIAL_SYMBOLS.index(model.start)
    write_json(
        folder / "config.json",
        numbers | {"precision": precision, "max_target_length": model.max_target_length},
    )
