"""Reasons why numbers are missing, put together: many models that lack the same thing are one reason."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SEPARATOR = "; "  # between the reasons in a cell of a frame
# a reason that begins with a model's address, such as `toy/toy/s1/train has not run yet`
_OF_MODEL = re.compile(r"(?P<task>[^\s/]+)/(?P<recipe>[^\s/]+)/s(?P<seed>\d+)/(?P<steps>\S+) (?P<lacks>.+)")
_PLURAL = {"has": "have", "is": "are", "was": "were"}


@dataclass(frozen=True)
class _Model:
    """A model that lacks something, as the reasons name it: its address without the seed."""

    task: str
    recipe: str
    steps: str

    def named(self, seeds: list[str]) -> str:
        """The address if one seed is concerned, otherwise the model without its seeds."""
        if len(seeds) == 1:
            return f"{self.task}/{self.recipe}/s{seeds[0]}/{self.steps}"
        return f"{self.steps} of {self.recipe} on {self.task}"


def merged(reasons: Iterable[str]) -> list[str]:
    """The reasons, each once; reasons that models lack the same thing are one, which names the first model.

    A text with several reasons, joined by SEPARATOR, counts as these. The order is that of first occurrence.

    >>> merged(["toy/toy/s1/train has not run yet; toy/toy/s2/train has not run yet"])
    ['train of toy on toy has not run yet (seeds 1, 2)']
    >>> merged(["toy/a/s1/train is not scored yet", "toy/b/s1/train is not scored yet"])
    ['toy/a/s1/train and toy/b/s1/train are not scored yet']
    """
    groups: dict[str, dict[_Model, list[str]]] = {}
    for reason in dict.fromkeys(each for text in reasons for each in text.split(SEPARATOR)):
        if match := _OF_MODEL.fullmatch(reason):
            model = _Model(match["task"], match["recipe"], match["steps"])
            groups.setdefault(match["lacks"], {}).setdefault(model, []).append(match["seed"])
        else:
            groups.setdefault(reason, {})
    return [_said(lacks, seeds_of) for lacks, seeds_of in groups.items()]


def _said(lacks: str, seeds_of: dict[_Model, list[str]]) -> str:
    """One reason for all models that lack the same; the reason itself if it names no model."""
    if not seeds_of:
        return lacks
    (first, *others), (seeds, *more) = seeds_of, seeds_of.values()
    of_seeds = (
        f" (seeds {', '.join(seeds)})" if len(seeds) > 1 and all(each == seeds for each in more) else ""
    )
    if not others:
        return f"{first.named(seeds)} {lacks}{of_seeds}"
    verb, _, rest = lacks.partition(" ")
    last = others[0].named(more[0]) if len(others) == 1 else f"{len(others)} more"
    return f"{first.named(seeds)} and {last} {_PLURAL.get(verb, verb)} {rest}{of_seeds}"
