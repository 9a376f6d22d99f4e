"""Columns that the data frames of tables and figures have in common."""

from __future__ import annotations

from nmtprune.experiment.chain import Chain


def columns_of(chain: Chain) -> dict[str, str]:
    """The columns that name a model in a frame; without its seed, since a row may stand for several seeds."""
    return {"task": chain.task, "recipe": chain.recipe, "chain": chain.steps_text}
