"""Units: all that a run makes of one task, recipe and seed.

A whole unit can be kept without its checkpoints (`nmtprune keep FOLDER`). A run whose setting `kept` names
the folder makes nothing of the unit again, but reads tables and claims from there. So a run can grow on
machines that come and go. A kept unit with a file that is missing or has changed is refused.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from nmtprune.experiment import chain as chains
from nmtprune.experiment import paths, slices
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table, sha256_of, write_text
from nmtprune.foundation.known import known


def seal(folder: Path) -> None:
    """Mark a unit as whole with a list of its files and their checksums, written last."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != paths.UNIT)
    listed = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    write_text(folder / paths.UNIT, json.dumps(listed, indent=1) + "\n")


def by_unit(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """Group files of models by their unit; other files are left out."""
    groups: dict[Path, list[Path]] = {}
    for file in sorted(files):
        if unit := _unit_in(file):
            groups.setdefault(unit, []).append(file)
    return groups


class Kept:
    """The kept results that the setting `kept` names, as far as they hold with the current settings."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.folder = Path(config.settings["kept"]) if config.settings["kept"] else None
        self.has = functools.cache(self._has)

    def _has(self, unit: Path) -> bool:
        """Whether a unit is read from the kept results: kept with the current settings, and not made here.

        Raises UserError if a file of such a unit is missing or has changed.
        """
        if not self.folder or (paths.MODELS / unit).exists():
            return False
        folder = self._models / unit
        if not (folder / paths.UNIT).exists():
            return False
        sealed = {folder / name: checksum for name, checksum in _read_seal(folder / paths.UNIT).items()}
        manifests = {file: checksum for file, checksum in sealed.items() if file.name == paths.MANIFEST}
        _check(folder, manifests)
        if not all(_is_of_now(self.config, file) for file in manifests):
            return False  # without reading the other files, which may be large
        _check(folder, {file: checksum for file, checksum in sealed.items() if file not in manifests})
        return True

    @property
    def _models(self) -> Path:
        return known(self.folder) / paths.MODELS.name

    def where(self, file: Path) -> Path:
        """Where to read a file under results/: from the kept results if its unit is kept, not made here."""
        unit = _unit_in(file)
        if unit is not None:
            return self._models / file.relative_to(paths.MODELS) if self.has(unit) else file
        if self.folder and not file.exists() and file.parent == paths.speed(self.config.name, "").parent:
            return self.folder / paths.SPEED.name / file.name
        return file

    def has_speeds(self, table: Path, chains: Iterable[Chain]) -> bool:
        """Whether a kept table of speeds has all of these models, and no such table was made here."""
        kept = self.where(table)
        if kept == table or not kept.exists():
            return False
        return {row["chain"] for row in read_table(kept)} >= set(map(str, chains))

    def targets(self, run: Run) -> list[Path]:
        """The files that the run reads and has to make itself, since no kept unit has them.

        The text of tasks with kept units is among them, since the page shows translations beside it.
        """
        tables = {paths.speed(run.name, task): models for task, models in run.speed_groups.items()}
        kept_tables = {table for table, models in tables.items() if self.has_speeds(table, models)}
        wanted = run.files_read - kept_tables
        made = self._to_make(wanted)
        return sorted(made | {paths.text(unit.parts[0]) / paths.MANIFEST for unit in by_unit(wanted - made)})

    def _to_make(self, wanted: Iterable[Path]) -> set[Path]:
        """The files in `wanted` that no kept unit has.

        If a kept unit lacks one of its wanted files, all wanted files of that unit are included.
        """
        made = set(wanted)
        for unit, files in by_unit(wanted).items():
            if self.has(unit) and all(self.where(file).exists() for file in files):
                made -= set(files)
        return made

    def text(self, task: str) -> Path | None:
        """The folder of a distilled task's kept training pairs; None if none has the current settings."""
        if not self.folder:
            return None
        folder = self.folder / paths.DATA.name / task
        if not (folder / paths.MANIFEST).exists():
            return None
        made, distilled = read_json(folder / paths.MANIFEST), self.config.task(task).distilled
        return (
            folder
            if distilled
            and all(made["distilled"].get(key) == value for key, value in distilled.whole.items())
            else None
        )

    def teachers(self, task: str) -> list[Chain]:
        """The models that are needed to make a distilled task's text: none if the text was kept."""
        return [] if self.text(task) else self.config.teachers(task)


def _check(unit: Path, files: Mapping[Path, str]) -> None:
    """Raises UserError for the first file of the kept unit `unit` whose SHA-256 is not the one in `files`."""
    for file, checksum in files.items():
        what = (
            "is gone"
            if not file.is_file()
            else "is not as it was kept"
            if sha256_of(file) != checksum
            else None
        )
        if what:
            raise UserError(
                f"kept: {file} {what}: copy the unit {unit} again, or remove it, so that a run makes it again"
            )


def _read_seal(seal: Path) -> dict[str, str]:
    try:
        return read_json(seal)
    except ValueError:
        raise UserError(
            f"kept: {seal} is damaged: copy the unit {seal.parent} again, or remove it, so that a run "
            "makes it again"
        ) from None


def _is_of_now(config: Config, manifest: Path) -> bool:
    """Whether a kept model matches the current settings, as far as that can be told without its data."""
    made = read_json(manifest)
    return made["slice"] == json.loads(json.dumps(slices.of_step(config, chains.parse(made["chain"]))))


def _unit_in(file: Path) -> Path | None:
    """The unit of a model's file; None for any other file."""
    if not file.is_relative_to(paths.MODELS):
        return None
    return Path(*file.relative_to(paths.MODELS).parts[:3])
