"""How large a task's sets are, before and after its text is there."""

from __future__ import annotations

from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.config import Config
from nmtprune.foundation.files import read_json

SENTENCES = 3000  # of a set whose text is not there yet
PIECES, PIECES_OF_TOY = 25, 16  # of a sentence whose text is not there yet, end of sentence included
BYTES_A_PIECE = 2  # in fairseq's files, up to 65,500 types


class Task:
    """How large a task is: by its text and data where they are there, else by what it says of itself, else as those of WMT are."""

    def __init__(self, config: Config, name: str) -> None:
        self._task, self._text = config.task(name), paths.text(name) / paths.MANIFEST
        self._counts = read_json(self._text).get("counts", {}) if self._text.exists() else {}

    @property
    def assumed(self) -> bool:
        """Whether its sets are only taken to be of some size."""
        return not self._counts and self._stated("dev") is None

    @property
    def downloads(self) -> bool:
        """Whether its text comes from elsewhere."""
        return self._stated("dev") is None

    def sentences(self, split: str) -> int:
        """Of a set; of training data that are not there as many as are scored of them at least."""
        if split in self._counts:
            return self._counts[split]["kept"]
        return self._stated(split) or SENTENCES

    def _stated(self, split: str) -> int | None:
        """Of a generated set, which says so."""
        sources = self._task[split] if split in ("train", "dev") else self._task["test"][split]
        toy = [source["toy"]["sentences"] for source in sources if "toy" in source] if isinstance(sources, list) else []
        return sum(toy) or None

    @property
    def tests(self) -> list[str]:
        return list(self._task["test"])

    def pieces(self, data: Path) -> float:
        """Of a sentence of its development set, end of sentence included; of generated text, about."""
        side = self._task["target"]
        index = paths.binarised(data) / f"valid.{self._task['source']}-{side}.{side}"
        if index.with_name(f"{index.name}.bin").exists():
            return max(2.0, index.with_name(f"{index.name}.bin").stat().st_size / BYTES_A_PIECE / self.sentences("dev"))
        return PIECES if self._stated("dev") is None else PIECES_OF_TOY
