"""Find tasks, recipes and presets by name, and merge them with what they extend.

Each is a YAML file, and a recipe may also be a variant.

Variants are stated in the file of another recipe. Recipe files may be in folders below `recipes/`; the
folder is not part of the name.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmtprune.experiment import names
from nmtprune.experiment.reading import merge, read_yaml
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError, suggest

WORKFLOW = Path(__file__).resolve().parents[2]  # with a folder of each kind
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
        variants = _variants(file, status.st_mtime_ns, status.st_size)
        if variants is None:
            unreadable.append(file)
        for name in variants or ():
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


@dataclass(frozen=True)
class Library:
    """All tasks, recipes and presets: those of the user's `own` folder, if there is one, and the workflow's.

    A kind is the name of its folder: `tasks`, `recipes`, `presets` or `papers`.
    """

    own: str | None
    _shelves: dict[str, list[Shelf]] = field(default_factory=dict, compare=False, repr=False)
    _stated: dict[Path, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    _merged: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)

    def folders(self, kind: str) -> list[Path]:
        """The folders of a kind, the user's own first."""
        return ([Path(self.own) / kind] if self.own else []) + [WORKFLOW / kind]

    def shelves(self, kind: str) -> list[Shelf]:
        """The contents of each folder of a kind."""
        if kind not in self._shelves:
            self._shelves[kind] = [shelf(folder) for folder in self.folders(kind)]
        return self._shelves[kind]

    def names(self, kind: str) -> list[str]:
        """All names of a kind, including the user's own."""
        return sorted({name for each in self.shelves(kind) for name in each.places})

    def place(self, kind: str, name: str) -> Place:
        """The place where a name of a kind is stated, with which messages begin.

        Raises UserError for an unknown name.
        """
        place = next(filter(None, (each.place(name) for each in self.shelves(kind))), None)
        if place is None:
            raise UserError(f"unknown {kind.rstrip('s')} `{name}`; {suggest(name, self.names(kind))}")
        return place

    def stated(self, kind: str, name: str) -> dict[str, Any]:
        """The content of the file that states a name, validated, with all variants."""
        place = self.place(kind, name)
        if place.file not in self._stated:
            value = read_yaml(place.file)
            validate(value, kind.rstrip("s"), place.of_file)
            self._stated[place.file] = value
        return self._stated[place.file]

    def merged(self, kind: str, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        """What is stated under a name, merged with what it extends. `above`: the names that extend it.

        Raises UserError for an unknown name, one that extends itself, and a file that is not valid.
        """
        if (kind, name) not in self._merged:
            names.check(kind, name, str(self.place(kind, name)))
            value = self._said(kind, name)
            if base := self._base(kind, name, above):
                below = self.merged(kind, base, (*above, name))
                inherited = {key: below[key] for key in below if key not in ("title", "about", "distilled")}
                value = merge(inherited, value)
            self._merged[kind, name] = value
        return self._merged[kind, name]

    def read_so_far(self, kind: str) -> list[str]:
        """The names of a kind that have been read and merged already."""
        return [name for merged_kind, name in self._merged if merged_kind == kind]

    def _said(self, kind: str, name: str) -> dict[str, Any]:
        """What is stated under a name itself."""
        stated = self.stated(kind, name)
        if self.place(kind, name).is_variant:
            return stated[VARIANTS][name]
        return {key: value for key, value in stated.items() if key not in ("extends", VARIANTS)}

    def _base(self, kind: str, name: str, above: tuple[str, ...]) -> str | None:
        """The name that a name extends, or None. Raises UserError for an unknown one."""
        place, stated = self.place(kind, name), self.stated(kind, name)
        if place.is_variant:
            where, base = str(place), place.file.stem
        elif "distilled" in stated:
            where, base = f"{place}: distilled.from", stated["distilled"]["from"]
        else:
            where, base = f"{place}: extends", stated.get("extends")
        if base in (*above, name):
            raise UserError(f"{where}: `{base}` would be made from itself; give one of them another name")
        if base and base not in self.names(kind):
            raise UserError(
                f"{where}: unknown {kind.rstrip('s')} `{base}`; {suggest(base, self.names(kind))}"
            )
        return base
