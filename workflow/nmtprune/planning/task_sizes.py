"""The sizes of a task's sets, before its text exists and after."""

from __future__ import annotations

from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.config import Config
from nmtprune.foundation.files import read_json

SENTENCES = 3000  # assumed number of sentences in a set whose text is not there yet
# assumed number of pieces in a sentence whose text is not there yet, end of sentence included
PIECES, PIECES_OF_TOY = 25, 16
BYTES_A_PIECE = 2  # in fairseq's files, for dictionaries of up to 65,500 types


class TaskSizes:
    """The sizes of a task, from its text and data if they exist.

    Otherwise they are the sizes that the task states, or else those of WMT's tasks.
    """

    def __init__(self, config: Config, name: str) -> None:
        self._task, self._text = config.task(name), paths.text(name) / paths.MANIFEST
        self._counts = read_json(self._text).get("counts", {}) if self._text.exists() else {}

    @property
    def assumed(self) -> bool:
        """Whether the sizes of the task's sets are only assumed."""
        return not self._counts and self._stated("dev") is None

    @property
    def downloads(self) -> bool:
        """Whether the task's text is not generated but comes from files or downloads."""
        return self._stated("dev") is None

    def sentences(self, split: str) -> int:
        """Number of sentences in a split.

        It is counted if the text exists; otherwise it is what the task states, or else SENTENCES.
        """
        if split in self._counts:
            return self._counts[split]["kept"]
        return self._stated(split) or SENTENCES

    def _stated(self, split: str) -> int | None:
        """The number of sentences in a generated split, as its sources state it; None for other splits."""
        sources = self._task.sources[split]
        return sum(source["toy"]["sentences"] for source in sources if "toy" in source) or None

    @property
    def tests(self) -> list[str]:
        """The names of the test sets."""
        return self._task.tests

    def pieces(self, data: Path) -> float:
        """Mean number of pieces in a sentence of the development set, end of sentence included.

        It is assumed if the data do not exist yet.
        """
        side = self._task.target
        index = paths.binarised(data) / f"valid.{self._task.source}-{side}.{side}"
        if index.with_name(f"{index.name}.bin").exists():
            return max(
                2.0,
                index.with_name(f"{index.name}.bin").stat().st_size / BYTES_A_PIECE / self.sentences("dev"),
            )
        return PIECES if self._stated("dev") is None else PIECES_OF_TOY
