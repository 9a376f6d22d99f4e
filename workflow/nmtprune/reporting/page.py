"""The page of a run: every table and figure, the settings behind them, and all models of the run."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import nmtprune
from nmtprune.experiment import own, papers, paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.papers import Item
from nmtprune.experiment.run import Run
from nmtprune.foundation import versions
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.plateaus import plateaus
from nmtprune.reporting import claims_page
from nmtprune.reporting.claims_page import Decided
from nmtprune.reporting.rendition import Made
from nmtprune.reporting.tables import number

PACKAGES = ("fairseq", "torch", "ctranslate2", "sacrebleu", "snakemake")
SHOWN = ("bleu", "chrf", "perplexity", "sparsity", "parameters")


@dataclass(frozen=True)
class Rendered:
    """A table or figure as it was written: `files` by extension."""

    item: Item
    made: Made
    caption: list[str]
    files: dict[str, Path]


def html(run: Run, measured: Measured, rendered: list[Rendered], decided: list[Decided]) -> str:
    """The page of a run as HTML; links are relative to the page's folder."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    config, page, scored = run.config, paths.page(run.name), set(run.scored)
    return environment.get_template("page.html.j2").render(
        config=config,
        own_paper=own.PAPER,
        seeds=sorted({chain.seed for chain in run.chains}),
        stand_ins=list(_stand_ins(config, rendered)),
        versions=_versions(),
        papers={each.item.paper: each.item.about for each in rendered},
        claimed={each.claim.paper: papers.paper(each.claim.paper, config) for each in decided},
        rendered=rendered,
        claims=decided,
        claims_file=paths.CLAIMS,
        summary=claims_page.summary(decided),
        caveat=claims_page.CAVEAT.replace("*", ""),
        shown_name=claims_page.shown_name,
        precision=claims_page.precision,
        models=[_model(chain, measured, page, chain in scored) for chain in run.chains],
        made=sum(measured.scores(chain) is not None for chain in scored),
        to_score=len(scored),
        plateaus=plateaus(run.chains, measured),
        hours=_hours(run, measured),
        link=lambda path: Path(os.path.relpath(path, page)).as_posix(),
    )


def _stand_ins(config: Config, rendered: list[Rendered]) -> Iterator[tuple[str, str]]:
    """The papers' data and models, each with its stand-in in the run."""
    rows = [
        (each.item.about, row) for each in rendered if each.item.paper != own.PAPER for row in each.item.rows
    ]
    tasks = {about["tasks"][row.paper_task]: config.task(row.first.task)["title"] for about, row in rows}
    recipes = {
        about["recipes"][row.paper_recipe]: config.recipe(row.first.recipe)["title"] for about, row in rows
    }
    yield from tasks.items()
    yield from recipes.items()
    for missing in dict.fromkeys(name for each in rendered for name in each.item.left_out):
        yield missing, "left out"


def _versions() -> dict[str, str]:
    version_of = {"nmtprune": nmtprune.__version__, "Python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            version_of[package] = versions.of(package)
    return version_of


def _model(chain: Chain, measured: Measured, page: Path, to_score: bool) -> dict[str, Any]:
    """A line in the list of models; values that are missing are blank."""
    scores, folder = measured.scores(chain), measured.where(paths.manifest(chain)).parent
    updates = measured.updates(chain)
    return {
        "address": str(chain),
        "folder": os.path.relpath(folder, page) if folder.exists() else None,
        "updates": "" if updates is None else f"{updates:,}",
        "reason": "" if scores or not to_score else measured.reason(chain),
        **{m: number(m, float(scores[m])) if scores and scores.get(m) else "" for m in SHOWN},
    }


def _hours(run: Run, measured: Measured) -> float:
    """Wall-clock hours of all trainings; a training that several models share counts once."""
    manifests = [manifest for model in run.models if (manifest := measured.manifest(model))]
    return sum(manifest.get("wall_seconds") or 0 for manifest in manifests) / 3600
