"""Recipes: a model, its training schedules, and how it is pruned, measured and searched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nmtprune.experiment import architecture
from nmtprune.experiment.architecture import EMBEDDINGS, Architecture, spelt
from nmtprune.experiment.search import Search
from nmtprune.experiment.views import View
from nmtprune.foundation.errors import UserError

NEEDED = ("title", "subwords", "architecture", "prunable", "schedules")  # said, or in what it extends


@dataclass(frozen=True, kw_only=True)
class Prunable(View):
    """Which weights percentages of pruning refer to: `embeddings` is `in` or `out`."""

    SCHEMA: ClassVar[str] = "recipe#/properties/prunable"

    embeddings: str


@dataclass(frozen=True, kw_only=True)
class Decoding(View):
    """How translations are searched, and by which engine."""

    SCHEMA: ClassVar[str] = "recipe#/properties/decoding"

    beam: int
    max_len_a: float
    max_len_b: int
    length_penalty: float
    replace_unknowns: bool
    engine: str
    shortlist: int | None
    frequent: int

    @property
    def search(self) -> Search:
        """The search itself, whatever the engine and its shortlist."""
        return Search(self.beam, self.length_penalty, self.max_len_a, self.max_len_b, self.replace_unknowns)


@dataclass(frozen=True, kw_only=True)
class Lasso(View):
    """The group lasso, and which groups count as dead (Behnke and Heafield 2021)."""

    SCHEMA: ClassVar[str] = "recipe#/properties/lasso"

    gamma: str
    reference_words: int | None
    start: float
    dead: str
    threshold: float


@dataclass(frozen=True, kw_only=True)
class Importance(View):
    """How the importance of components is measured (Wang and Tu 2020). A recipe resolves `beam`."""

    SCHEMA: ClassVar[str] = "recipe#/properties/importance"

    clip: float
    epsilon: float
    steps: int
    group: int
    candidates: int | None
    beam: int | None
    sentences: int | None


@dataclass(frozen=True, kw_only=True)
class Recipe(View):
    """A recipe with everything it extends merged in. `Schedule`s are made of `training` and `schedules`."""

    SCHEMA: ClassVar[str] = "recipe"
    PARTS: ClassVar = {
        "architecture": Architecture.over,
        "prunable": Prunable.over,
        "decoding": Decoding.over,
        "lasso": Lasso.over,
        "importance": Importance.over,
    }

    title: str
    subwords: Mapping[str, Any]
    architecture: Architecture
    prunable: Prunable
    decoding: Decoding
    lasso: Lasso
    importance: Importance
    training: Mapping[str, Any] | None
    schedules: Mapping[str, Mapping[str, Any]]

    @classmethod
    def _value(cls, key: str, given: Mapping[str, Any]) -> Any:
        value = super()._value(key, given)
        if key == "importance" and value.beam is None:
            return value.altered(beam=Decoding.over(given.get("decoding")).beam)
        return value

    @property
    def prunable_classes(self) -> list[str]:
        """The prunable weight classes of its model, as steps spell them: `source_layer_1`."""
        return [
            spelt(name)
            for name in self.architecture.weight_classes
            if self.prunable.embeddings == "in" or name not in EMBEDDINGS
        ]

    @property
    def searched_by_fairseq(self) -> bool:
        """Whether fairseq searches the hypotheses of its models."""
        return self.decoding.engine == "fairseq" or not self.architecture.is_transformer


def whole(said: Mapping[str, Any], where: str) -> Recipe:
    """A recipe with everything it extends merged in. Raises UserError where the whole lacks something."""
    missing = [key for key in NEEDED if key not in said]
    if missing:
        raise UserError(f"{where}: the key `{missing[0]}` is missing, also from what it extends")
    architecture.check(said["architecture"], said["subwords"], where)
    recipe = Recipe.over(said)
    if recipe.decoding.shortlist and recipe.searched_by_fairseq:
        raise UserError(
            f"{where}: decoding: shortlist needs CTranslate2 or ONNX Runtime, and fairseq searches here"
        )
    if recipe.architecture.attention == "none" and recipe.decoding.replace_unknowns:
        raise UserError(
            f"{where}: decoding: replace_unknowns needs attention, and architecture.attention says none"
        )
    return recipe
