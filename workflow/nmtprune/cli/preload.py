"""The modules that most jobs import, for the warm process and for forks that measure jobs.

Lower layers call this module by its name, since they may not import it.
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
    """Import MODULES; none of them starts threads, which a fork would lose."""
    for name in MODULES:
        import_module(name)
    config.from_settings({})  # the first call loads the validator of settings
