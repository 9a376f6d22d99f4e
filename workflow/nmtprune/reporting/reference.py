"""Keep a run's results, without checkpoints, so that others can read them and continue from them.

Kept are its page, tables, figures and speeds, and for every complete unit its scores with sentence
statistics, histories, manifests, analyses and hypotheses.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.store import units
from nmtprune.translation.distillation import keep_distilled

TABLES = (paths.MANIFEST, paths.HISTORY, paths.SCORES, paths.VARIANTS)
ARRAYS = (paths.NORMS, paths.SENTENCES, paths.SENTENCES_OF_VARIANTS)


@dataclass(frozen=True)
class Kept:
    """The result of `keep`: the files written, the units that are complete (`whole`), and the others.

    `lacking`: for each incomplete unit, the first file that is missing.
    """

    files: list[Path]
    whole: list[Path]
    lacking: dict[Path, Path]


def keep(run: Run, folder: Path) -> Kept:
    """Copy a run's results without checkpoints into `folder`; units that were kept there before stay.

    `models/` mirrors results/models. Hypotheses are kept for models that end with a training, on the main
    test set of each task.
    """
    config, kept_units, page = run.config, units.Kept(run.config), paths.page(run.name)
    shown = (file.relative_to(page) for file in sorted(page.rglob("*")) if file.is_file())
    written = [_copy(page / file, folder / file) for file in shown if not _is_for_snakemake(file)]
    for table in (paths.speed(run.name, task) for task in run.speed_groups):
        written += [
            _copy(file, folder / paths.SPEED.name / file.name)
            for file in (table, paths.left_out(table))
            if file.exists()
        ]
    whole, lacking, read = [], {}, units.by_unit(run.files_read)
    for unit, chains in _units(run).items():
        asked = read.get(unit, [])
        if not asked and not any(paths.manifest(chain).exists() for chain in chains):
            continue  # the run makes nothing in this unit
        absent = next((file for file in asked if not file.exists()), None)
        if absent is None:
            written += _keep_unit(config, folder, unit, chains)
            whole.append(unit)
        elif not kept_units.has(unit):
            lacking[unit] = absent
    for task in {unit.parts[0] for unit in whole}:
        if config.task(task).distilled and not kept_units.text(task):
            written += keep_distilled(paths.text(task), folder / paths.DATA.name / task)
    return Kept(written, whole, lacking)


def _is_for_snakemake(file: Path) -> bool:
    """Whether a file of a page is read by Snakemake or its report alone: tables as HTML stand on the page."""
    tables = len(file.parts) == 2 and file.suffix == ".html" and file.parts[0] != paths.MODEL_PAGES
    return tables or file.name in (paths.COMPLETE, paths.REPORT)


def _units(run: Run) -> dict[Path, list[Chain]]:
    """All models of the run by unit."""
    by_unit: dict[Path, list[Chain]] = {}
    for model in run.models:
        by_unit.setdefault(paths.unit(model), []).append(model)
    return by_unit


def _keep_unit(config: Config, folder: Path, unit: Path, chains: list[Chain]) -> list[Path]:
    target, written = folder / paths.MODELS.name / unit, []
    (target / paths.UNIT).unlink(missing_ok=True)
    for chain in chains:
        source = paths.model(chain)
        analyses = [paths.analysis(chain, name) for name in ANALYSIS_KINDS]
        files = (
            [source / name for name in TABLES + ARRAYS]
            + analyses
            + [paths.arrays(numbers) for numbers in analyses]
        )
        files += _hypotheses(config, chain)
        written += [
            _copy(file, target.joinpath(*file.relative_to(paths.MODELS / unit).parts))
            for file in files
            if file.exists()
        ]
    units.seal(target)
    return [*written, target / paths.UNIT]


def _hypotheses(config: Config, chain: Chain) -> list[Path]:
    """The files of hypotheses to keep: none for models that are only pruned, which would take most space."""
    if chain.last.kind.selects:
        return []
    text = paths.hypotheses(chain, config.task(chain.task).main_test)
    return [text, text.with_suffix(".nll")]


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
