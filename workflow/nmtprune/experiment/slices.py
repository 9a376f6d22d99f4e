"""The settings that models, scores and texts depend on.

They enter digests, and are parameters of Snakemake jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nmtprune.experiment.chain import Chain

if TYPE_CHECKING:
    from nmtprune.experiment.config import Config

SCORING_VERSION = 6  # raised when scores change without a change of recipe


def of_step(config: Config, chain: Chain) -> dict[str, Any]:
    """What the last step of a chain depends on besides its parent and data."""
    step = chain.last
    values: dict[str, Any] = {"step": step.text, "version": step.kind.version}
    if step.kind.trains:
        schedule = config.schedule(chain.recipe, step.schedule)
        values["schedule"] = schedule.said
        if schedule.select == "bleu":
            values["decoding"] = config.recipe(chain.recipe).decoding.said
    return values | step.kind.settings(config, chain)


def of_scores(config: Config, recipe: str) -> dict[str, Any]:
    """What the scores of a recipe's models depend on besides model and text."""
    whole = config.recipe(recipe)
    return {
        "version": SCORING_VERSION,
        "decoding": whole.decoding.said,
        "prunable": whole.prunable.said,
    }


def of_text(config: Config, task: str) -> dict[str, Any]:
    """What a task's text depends on: everything but title, description and probing settings.

    For a distilled task, the teacher's decoding settings are included.
    """
    left_out = ("title", "about", "probing")
    stated = config.task(task)
    values = {key: value for key, value in stated.said.items() if key not in left_out}
    if distilled := stated.distilled:
        values |= {
            "distilled": distilled.whole,
            "decoding": config.recipe(distilled.recipe).decoding.said,
        }
    return values
