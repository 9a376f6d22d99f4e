"""Presets: what stands in for the papers' own tasks and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nmtprune.experiment.views import View


@dataclass(frozen=True, kw_only=True)
class Preset(View):
    """What a run makes of the papers, by which tasks and recipes, and with which seeds."""

    SCHEMA: ClassVar[str] = "preset"

    title: str
    seeds: tuple[int, ...]
    seeds_of: Mapping[str, list[int]]
    papers: tuple[str, ...]
    tasks: Mapping[str, str | None]
    recipes: Mapping[str, str | None]
    speed_on_idle: bool
    speed_rounds: int
    grids: Mapping[str, Mapping[str, list[Any]]]

    def stand_ins(self, kind: str) -> Mapping[str, str | None]:
        """What stands in for each of the papers' own `tasks` or `recipes`."""
        return {"tasks": self.tasks, "recipes": self.recipes}[kind]
