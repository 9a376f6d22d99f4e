"""What most jobs import, for the warm process and for forks that measure jobs: the top of the package, handed
down by name.
"""

from __future__ import annotations

from importlib import import_module

from nmtprune.experiment import analysis_kinds, config

NAME = __name__
MODULES = (
    "nmtprune.cli.verbs",
    "nmtprune.scoring.evaluation",
    "nmtprune.planning.jobs",
    "nmtprune.translation.ctranslate2.engine",
    "nmtprune.steps.training",
    "nmtprune.fairseq_bridge.session",
    *(f"nmtprune.analysis.{name}" for name in analysis_kinds.ANALYSIS_KINDS),
    "fairseq.quantization_utils",  # which fairseq imports when it first builds a model
)


def import_what_jobs_need() -> None:
    """Import MODULES, none of which starts threads: those do not live on in a fork."""
    for name in MODULES:
        import_module(name)
    config.from_settings({})  # the first one loads what validates settings
