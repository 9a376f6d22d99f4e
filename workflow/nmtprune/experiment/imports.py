"""Models from elsewhere that chains may begin with, as the settings name them (`imports`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from nmtprune.experiment.views import View

MARIAN = "marian"  # the type of a model in its config.json
# The files of a Marian model in the format of transformers; the first weights that exist count.
MARIAN_CONFIG = "config.json"
MARIAN_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
MARIAN_VOCABULARY, MARIAN_TARGET_VOCABULARY = "vocab.json", "target_vocab.json"
MARIAN_PIECES = ("source.spm", "target.spm")
TRIM = "trim"


@dataclass(frozen=True, kw_only=True)
class Import(View):
    """A checkpoint of fairseq with its dictionaries and subwords, or the folder of a Marian model."""

    SCHEMA: ClassVar[str] = "config#/properties/imports/additionalProperties"

    checkpoint: str | None
    dictionaries: str | None
    subwords: str | None
    trust: bool
    marian: str | None
    target_code: str | None
    vocabulary: str

    @property
    def paths(self) -> dict[str, str]:
        """The files and folders that the settings name, by key."""
        keys = ("checkpoint", "dictionaries", "subwords", "marian")
        return {key: self.said[key] for key in keys if self.said.get(key)}

    @property
    def weights(self) -> Path:
        """The file with the weights."""
        if self.marian is None:
            return Path(self.said["checkpoint"])
        return weights_of_marian(Path(self.marian))

    @property
    def own_files(self) -> dict[str, Path]:
        """The files that the model depends on, without dictionaries and subwords, by what they hold."""
        if self.marian is None:
            return {"checkpoint": self.weights}
        return {"checkpoint": self.weights, "config": Path(self.marian) / MARIAN_CONFIG}

    @property
    def segmentation(self) -> dict[str, Any]:
        """The settings of its subwords, besides type and name."""
        trimmed = {"vocabulary": TRIM} if self.vocabulary == TRIM else {}
        if self.marian is None:
            return {"dictionaries": self.dictionaries, "model": self.subwords} | trimmed
        return {"marian": self.marian, "target_code": self.target_code} | trimmed


def weights_of_marian(folder: Path) -> Path:
    """The file with the weights of a Marian model; the first of the possible ones if none exists."""
    files = [folder / name for name in MARIAN_WEIGHTS]
    return next((file for file in files if file.is_file()), files[0])


def vocabularies_of_marian(folder: Path) -> tuple[Path, Path]:
    """The files with the numbers of a Marian model's source and target pieces, which may be one."""
    source, target = folder / MARIAN_VOCABULARY, folder / MARIAN_TARGET_VOCABULARY
    return source, target if target.is_file() else source
