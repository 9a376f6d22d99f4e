"""Keep a run for others to read: its page, tables and figures, speeds, and of every model scores with the statistics of
sentences behind them, history, manifest and hypotheses."""

from __future__ import annotations

import shutil
from pathlib import Path

from nmtprune import analysis, papers, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.files import write_text

TABLES = (paths.MANIFEST, paths.HISTORY, paths.SCORES, paths.VARIANTS, *(f"{name}.csv" for name in analysis.VERSIONS))
STATISTICS = (paths.SENTENCES, paths.SENTENCES_OF_VARIANTS, *(f"{name}.npz" for name in analysis.TRIALS))  # of sentences, for intervals


def keep(config: Config, folder: Path) -> list[Path]:
    """Copy what a reader needs of the run into `folder`, checkpoints left out. Returns what was written.

    Hypotheses are those on the main test set of each task, of models that end with a training; `models/` mirrors results/models.
    """
    page = paths.page(config.name)
    written = [_copy(file, folder / file.relative_to(page)) for file in sorted(page.rglob("*")) if file.is_file()]
    index = folder / "index.html"
    write_text(index, index.read_text(encoding="utf-8").replace(f"../{paths.MODELS.name}/", f"{paths.MODELS.name}/"))
    for table in (paths.speed(config.name, task) for task in papers.speed_groups(config)):
        written += [_copy(file, folder / "speed" / file.name) for file in (table, paths.left_out(table)) if file.exists()]
    asked = papers.chains(config)
    for chain in sorted({ancestor for each in asked for ancestor in each.ancestors()}, key=str):
        source = paths.model(chain)
        files = [source / name for name in TABLES + STATISTICS] + _hypotheses(config, chain)
        written += [_copy(file, folder / paths.MODELS.name / str(chain) / file.relative_to(source)) for file in files if file.exists()]
    return written


def _hypotheses(config: Config, chain: Chain) -> list[Path]:
    """Those of models that were trained: the many that are only pruned would take most of the room."""
    if chain.last.family.selects:
        return []
    text = paths.hypotheses(chain, next(iter(config.task(chain.task)["test"])))
    return [text, text.with_suffix(".nll")]


def _copy(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return target
