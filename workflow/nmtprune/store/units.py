"""Units: all that a run makes of one task, recipe and seed.

A unit that is whole can be kept without its checkpoints (`nmtprune keep FOLDER`); a run that is given the
folder (the setting `kept`) makes none of it again, and its tables and claims are read from there. So a run
can grow on machines that come and go. Nothing is read from a kept unit of which a file is gone or is not as
it was kept.
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
    """Say that a unit is whole: list its files, in a file that is written last."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != paths.UNIT)
    listed = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    write_text(folder / paths.UNIT, json.dumps(listed, indent=1) + "\n")


def where(config: Config, file: Path) -> Path:
    """The place of a file under results/: in the folder of kept units where its unit was kept and is not made
    here, else its own.
    """
    unit = _unit_in(file)
    if unit is not None:
        return _kept_models(config) / file.relative_to(paths.MODELS) if is_kept(config, unit) else file
    if config.settings["kept"] and not file.exists() and file.parent == paths.speed(config.name, "").parent:
        return Path(config.settings["kept"]) / paths.SPEED.name / file.name
    return file


def is_kept(config: Config, unit: Path) -> bool:
    """Whether a unit is read from where it was kept: nothing of it is made here, and it was made by the
    settings that hold now.

    Raises UserError where a file of a unit that would be read is gone or is not as it was kept.
    """
    return config.once(f"kept {unit}", lambda: _is_kept(config, unit))


def by_unit(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """The files of models by their unit."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(files):
        if unit := _unit_in(file):
            found.setdefault(unit, []).append(file)
    return found


def inputs(config: Config) -> list[Path]:
    """What the run reads and has to make itself, because no unit that is kept has it; and the text that kept
    units are shown beside.
    """
    tables = {paths.speed(config.name, task): models for task, models in papers.speed_groups(config).items()}
    wanted = papers.read(config) - {
        table for table, models in tables.items() if has_speeds(config, table, models)
    }
    made = to_make(config, wanted)
    return sorted(made | {paths.text(unit.parts[0]) / paths.MANIFEST for unit in by_unit(wanted - made)})


def to_make(config: Config, wanted: set[Path]) -> set[Path]:
    """The files, of all that a run reads, which no kept unit has; where a kept unit lacks one of them, all of
    that unit.
    """
    made = set(wanted)
    for unit, files in by_unit(wanted).items():
        if is_kept(config, unit) and all(where(config, file).exists() for file in files):
            made -= set(files)
    return made


def has_speeds(config: Config, table: Path, chains: Iterable[Chain]) -> bool:
    """Whether a table of speeds was kept, is not made here, and has all of these models."""
    kept = where(config, table)
    if kept == table or not kept.exists():
        return False
    return {row["chain"] for row in read_table(kept)} >= set(map(str, chains))


def kept_text(config: Config, task: str) -> Path | None:
    """The folder with the training pairs of a distilled task that were kept with its students; None where
    they are of other settings.
    """
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
    """The models that a distilled task's text has to be made by: none where that was kept."""
    return [] if kept_text(config, task) else config.teachers(task)


def _check(unit: Path, files: Mapping[Path, str]) -> None:
    """Raises UserError for the first file that has not the sha256 given. `unit`: the folder of the kept unit
    that it belongs to.
    """
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
                f"kept: {file} {what}: copy the unit {unit} again, or remove it, and a run makes it again"
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
        return False  # the rest is not read
    _check(folder, {file: checksum for file, checksum in sealed.items() if file not in manifests})
    return True


def _read_seal(seal: Path) -> dict[str, str]:
    try:
        return read_json(seal)
    except ValueError:
        raise UserError(
            f"kept: {seal} is damaged: copy the unit {seal.parent} again, or remove it, and a run makes it "
            "again"
        ) from None


def _is_of_now(config: Config, manifest: Path) -> bool:
    """Whether a model that was kept is what the settings say now, as far as that can be told without its
    data.
    """
    made = read_json(manifest)
    return made["slice"] == json.loads(json.dumps(config.slice(chains.parse(made["chain"]))))


def _unit_in(file: Path) -> Path | None:
    """The unit of a file of a model; None of any other file."""
    if not file.is_relative_to(paths.MODELS):
        return None
    return Path(*file.relative_to(paths.MODELS).parts[:3])
