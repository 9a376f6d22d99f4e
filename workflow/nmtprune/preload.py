"""What most jobs import, for the warm process and for forks that measure jobs: the top of the package, handed down by name."""

from __future__ import annotations

from importlib import import_module

from nmtprune import analysis, config

NAME = __name__
MODULES = (
    "nmtprune.cli",
    "nmtprune.evaluation",
    "nmtprune.jobs",
    "nmtprune.scoring.ctranslate2_engine",
    "nmtprune.steps.training",
    "nmtprune.toolkit.session",
    *(f"nmtprune.analysis.{name}" for name in analysis.VERSIONS),
    "fairseq.quantization_utils",  # which fairseq imports when it first builds a model
)


def import_what_jobs_need() -> None:
    """Import MODULES, none of which starts threads: those do not live on in a fork."""
    for name in MODULES:
        import_module(name)
    config.from_settings({})  # the first one loads what validates settings
