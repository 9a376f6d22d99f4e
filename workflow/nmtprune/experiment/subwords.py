"""Names of subwords, derived from their settings: the name of their folder, their files, their kind.

No text and no model is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from nmtprune.experiment import schemas
from nmtprune.experiment.imports import MARIAN_PIECES, vocabularies_of_marian

Side = Literal["source", "target"]
SIDES: tuple[Side, Side] = ("source", "target")
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")  # of fairseq; each dictionary begins with them
END, UNKNOWN = "</s>", "<unk>"
EXTENSIONS = {"sentencepiece": "model", "bpe": "codes"}

MARKS = {
    "sentencepiece": "\u2581",
    "bpe": "@@",
}  # at the beginning of a word; after a piece that is continued
# Share of pieces with a mark above which a dictionary is of this kind, since text itself may contain marks.
_MARKED = 0.1


def name_of(settings: Mapping[str, Any]) -> str:
    """A readable folder name, unique for the settings: `sentencepiece-joint-4000`, `bpe-joint-100-moses`."""
    if settings["type"] == "given":
        return f"given-{settings['name']}"
    resolved = with_defaults(settings)
    name = f"{resolved['type']}-{'joint' if resolved['joint'] else 'separate'}-{resolved['size']}"
    if resolved["moses"]:
        name += "-moses"
    if resolved["joint"] != resolved["joint_dictionary"]:
        name += "-dictionaries"
    if resolved["reverse_source"]:
        name += "-reversed"
    if resolved["character_coverage"] != 1:
        name += f"-coverage{resolved['character_coverage']}"
    return name


def kind_of(model: str | Path | None) -> str:
    """The kind of given subwords: SentencePiece for the suffix `.model`, otherwise BPE.

    Without a file the kind is words.
    """
    return "words" if not model else "sentencepiece" if str(model).endswith(".model") else "bpe"


def marked_as(dictionary: Sequence[str]) -> str | None:
    """The kind of subwords whose marks the pieces of a dictionary have; None if they have no marks."""
    pieces = [line.rsplit(" ", 1)[0] for line in dictionary]
    marked = {
        "sentencepiece": sum(piece.startswith(MARKS["sentencepiece"]) for piece in pieces),
        "bpe": sum(piece.endswith(MARKS["bpe"]) for piece in pieces),
    }
    return next((kind for kind, count in marked.items() if count > _MARKED * len(pieces)), None)


def with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with every default filled in."""
    bpe, defaults = settings["type"] == "bpe", schemas.defaults("subwords")
    return {
        **defaults,
        "joint_dictionary": settings["joint"],
        **settings,
        "moses": bpe or settings.get("moses", defaults["moses"]),
    }


def given_files(settings: Mapping[str, Any], languages: tuple[str, str]) -> list[Path]:
    """The dictionaries of source and target that came with a model, then its subword models."""
    if "marian" in settings:
        folder = Path(settings["marian"])
        return [*vocabularies_of_marian(folder), *(folder / name for name in MARIAN_PIECES)]
    dictionaries = [Path(settings["dictionaries"]) / f"dict.{language}.txt" for language in languages]
    return [*dictionaries, *([Path(settings["model"])] if settings.get("model") else [])]


def model_files(settings: Mapping[str, Any]) -> list[str]:
    """File names of the source's and the target's model."""
    extension = EXTENSIONS.get(settings["type"], "")
    return [f"{'joint' if settings['joint'] else side}.{extension}" for side in SIDES]
