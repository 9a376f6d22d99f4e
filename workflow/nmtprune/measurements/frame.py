"""Frames: what rows of tables and figures have in common."""

from __future__ import annotations

from nmtprune.experiment.chain import Chain


def columns_of(chain: Chain) -> dict[str, str]:
    """The columns by which frames name a model; its seed apart, since a row may stand for several."""
    return {"task": chain.task, "recipe": chain.recipe, "chain": chain.steps_text}
