"""Units: all that a run makes of one task, recipe and seed.

A whole unit can be kept without its checkpoints (`nmtprune keep FOLDER`). A run whose setting `kept` names
the folder makes nothing of the unit again, but reads tables and claims from there. So a run can grow on
machines that come and go. A kept unit with a file that is missing or has changed is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from nmtprune.experiment import chain as chains
from nmtprune.experiment import papers, paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table, sha256_of, write_text


def seal(folder: Path) -> None:
    """Mark a unit as whole with a list of its files and their checksums, written last."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != paths.UNIT)
    listed = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    write_text(folder / paths.UNIT, json.dumps(listed, indent=1) + "\n")


def where(config: Config, file: Path) -> Path:
    """Where to read a file under results/: from the kept results if its unit is kept and is not made here."""
    unit = _unit_in(file)
    if unit is not None:
        return _kept_models(config) / file.relative_to(paths.MODELS) if is_kept(config, unit) else file
    if config.settings["kept"] and not file.exists() and file.parent == paths.speed(config.name, "").parent:
        return Path(config.settings["kept"]) / paths.SPEED.name / file.name
    return file


def is_kept(config: Config, unit: Path) -> bool:
    """Whether a unit is read from the kept results: kept with the current settings, and not made here.

    Raises UserError if a file of such a unit is missing or has changed.
    """
    return config.once(f"kept {unit}", lambda: _is_kept(config, unit))


def by_unit(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """Group files of models by their unit; other files are left out."""
    groups: dict[Path, list[Path]] = {}
    for file in sorted(files):
        if unit := _unit_in(file):
            groups.setdefault(unit, []).append(file)
    return groups


def inputs(config: Config) -> list[Path]:
    """The files that the run reads and has to make itself, since no kept unit has them.

    The text of tasks with kept units is among them, since the page shows translations beside it.
    """
    tables = {paths.speed(config.name, task): models for task, models in papers.speed_groups(config).items()}
    wanted = papers.read(config) - {
        table for table, models in tables.items() if has_speeds(config, table, models)
    }
    made = to_make(config, wanted)
    return sorted(made | {paths.text(unit.parts[0]) / paths.MANIFEST for unit in by_unit(wanted - made)})


def to_make(config: Config, wanted: set[Path]) -> set[Path]:
    """The files in `wanted` that no kept unit has.

    If a kept unit lacks one of its wanted files, all wanted files of that unit are included.
    """
    made = set(wanted)
    for unit, files in by_unit(wanted).items():
        if is_kept(config, unit) and all(where(config, file).exists() for file in files):
            made -= set(files)
    return made


def has_speeds(config: Config, table: Path, chains: Iterable[Chain]) -> bool:
    """Whether a kept table of speeds has all of these models, and no such table was made here."""
    kept = where(config, table)
    if kept == table or not kept.exists():
        return False
    return {row["chain"] for row in read_table(kept)} >= set(map(str, chains))


def kept_text(config: Config, task: str) -> Path | None:
    """The folder of a distilled task's kept training pairs; None if none has the current settings."""
    if not config.settings["kept"]:
        return None
    folder = Path(config.settings["kept"]) / paths.DATA.name / task
    if not (folder / paths.MANIFEST).exists():
        return None
    made, settings = read_json(folder / paths.MANIFEST), config.distilled(task)
    return (
        folder
        if settings and all(made["distilled"].get(key) == value for key, value in settings.items())
        else None
    )


def teachers(config: Config, task: str) -> list[Chain]:
    """The models that are needed to make a distilled task's text: none if the text was kept."""
    return [] if kept_text(config, task) else config.teachers(task)


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


def _kept_models(config: Config) -> Path:
    return Path(config.settings["kept"]) / paths.MODELS.name


def _is_kept(config: Config, unit: Path) -> bool:
    if not config.settings["kept"] or (paths.MODELS / unit).exists():
        return False
    folder = _kept_models(config) / unit
    if not (folder / paths.UNIT).exists():
        return False
    sealed = {folder / name: checksum for name, checksum in _read_seal(folder / paths.UNIT).items()}
    manifests = {file: checksum for file, checksum in sealed.items() if file.name == paths.MANIFEST}
    _check(folder, manifests)
    if not all(_is_of_now(config, file) for file in manifests):
        return False  # without reading the other files, which may be large
    _check(folder, {file: checksum for file, checksum in sealed.items() if file not in manifests})
    return True


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
    return made["slice"] == json.loads(json.dumps(config.slice(chains.parse(made["chain"]))))


def _unit_in(file: Path) -> Path | None:
    """The unit of a model's file; None for any other file."""
    if not file.is_relative_to(paths.MODELS):
        return None
    return Path(*file.relative_to(paths.MODELS).parts[:3])
