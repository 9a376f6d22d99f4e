"""Find tasks, recipes and presets by name: each is a YAML file, and a recipe may also be a variant.

Variants are stated in the file of another recipe. Recipe files may be in folders below `recipes/`; the
folder is not part of the name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nmtprune.experiment.reading import read_yaml
from nmtprune.foundation.errors import UserError

VARIANTS = "variants"  # the key of a recipe file that holds further recipes
RECIPES = "recipes"  # the only kind with variants, and with files in folders of their own


@dataclass(frozen=True)
class Place:
    """The place where a task, recipe or preset is stated.

    `folder` holds all files of its kind, the user's own or those of the workflow.
    """

    folder: Path
    file: Path
    name: str
    is_variant: bool = False

    @property
    def of_file(self) -> str:
        """The file as messages name it: `recipes/toy/toy.yaml`."""
        return f"{self.folder.name}/{self.file.relative_to(self.folder).as_posix()}"

    def __str__(self) -> str:
        return f"{self.of_file}: {VARIANTS}.{self.name}" if self.is_variant else self.of_file


@dataclass(frozen=True)
class Shelf:
    """All tasks, recipes or presets of one folder; the variants of an `unreadable` file are unknown."""

    places: dict[str, list[Place]]
    unreadable: list[Path]

    def place(self, name: str) -> Place | None:
        """The place of a name; None if the folder does not have it.

        Raises UserError for a name that is given twice, and for an unknown name that an unreadable file
        may have.
        """
        places = self.places.get(name, [])
        if len(places) > 1:
            raise UserError(
                f"{places[1]}: there is another recipe `{name}` in {places[0].of_file}; give one of them "
                "another name"
            )
        for file in () if places else self.unreadable:
            read_yaml(file)
        return places[0] if places else None


def shelf(folder: Path) -> Shelf:
    """The tasks, recipes or presets in a folder; hidden folders, in which editors keep files, are ignored."""
    places: dict[str, list[Place]] = {}
    unreadable = []
    files = list(_files(folder))
    for file in files:
        places.setdefault(file.stem, []).append(Place(folder, file, file.stem))
    for file in files if folder.name == RECIPES else ():
        status = file.stat()
        names = _variants(file, status.st_mtime_ns, status.st_size)
        if names is None:
            unreadable.append(file)
        for name in names or ():
            places.setdefault(name, []).append(Place(folder, file, name, is_variant=True))
    return Shelf(places, unreadable)


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*.yaml") if folder.name == RECIPES else folder.glob("*.yaml")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parent.parts):
            yield file


@functools.cache
def _variants(file: Path, changed: int, size: int) -> tuple[str, ...] | None:
    """The names of a recipe file's variants; None if it cannot be read.

    `changed` and `size` distinguish versions of the file.
    """
    try:
        variants = read_yaml(file).get(VARIANTS)
    except UserError:
        return None
    return tuple(variants) if isinstance(variants, dict) else ()
