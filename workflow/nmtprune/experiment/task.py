"""Tasks: parallel corpora, their languages, and how their text is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nmtprune.experiment.views import View

Source = Mapping[str, Any]  # with one of the keys that say of what kind it is: see schemas/task.schema.json


@dataclass(frozen=True, kw_only=True)
class Sample(View):
    """A random sample of the training pairs."""

    SCHEMA: ClassVar[str] = "task#/properties/sample"

    pairs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Cleaning(View):
    """Which training pairs are dropped."""

    SCHEMA: ClassVar[str] = "task#/properties/cleaning"

    max_words: int | None
    max_characters: int | None
    max_ratio: float | None
    control_characters: str
    duplicates: str
    lowercase: bool


@dataclass(frozen=True, kw_only=True)
class Distilled(View):
    """How a teacher translates the training sources of another task, `from_` (Kim and Rush 2016)."""

    SCHEMA: ClassVar[str] = "task#/properties/distilled"

    from_: str
    recipe: str
    seeds: tuple[int, ...]
    chain: str
    beam: int
    shards: int
    sample: int | None


@dataclass(frozen=True, kw_only=True)
class Probing(View):
    """The largest numbers of probing examples, and the grid of classifiers."""

    SCHEMA: ClassVar[str] = "task#/properties/probing"

    train: int
    dev: int
    test: int
    hidden: tuple[int, ...]
    dropout: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Task(View):
    """A task with everything that it extends, or that it is distilled from, merged in.

    `dev` has the sources of the development set, or `held_out`: see `Task.held_out`.
    """

    SCHEMA: ClassVar[str] = "task"
    PARTS: ClassVar = {
        "sample": Sample.if_said,
        "cleaning": Cleaning.over,
        "distilled": Distilled.if_said,
        "probing": Probing.over,
    }

    title: str
    about: str | None
    source: str
    target: str
    train: tuple[Source, ...]
    dev: tuple[Source, ...] | Mapping[str, int]
    test: Mapping[str, list[Source]]
    references: Mapping[str, list[str]]
    sample: Sample | None
    cleaning: Cleaning
    distilled: Distilled | None
    probing: Probing

    @property
    def languages(self) -> tuple[str, str]:
        """The codes of the source and the target language."""
        return self.source, self.target

    def language(self, side: str) -> str:
        """The code of the language of a side, `source` or `target`."""
        return {"source": self.source, "target": self.target}[side]

    @property
    def tests(self) -> list[str]:
        """The names of the test sets, the main one first."""
        return list(self.test)

    @property
    def main_test(self) -> str:
        """The name of the main test set, which tables show."""
        return self.tests[0]

    @property
    def pooled_tests(self) -> list[str]:
        """The test sets that claims pool: those that are no part of another.

        `newstest2014_filtered` is a part of `newstest2014`.
        """
        return [name for name in self.test if not any(name.startswith(f"{other}_") for other in self.test)]

    @property
    def splits(self) -> list[str]:
        """The names of all splits: `train`, `dev`, and the test sets, the main one first."""
        return ["train", "dev", *self.test]

    @property
    def sources(self) -> dict[str, list[Source]]:
        """The sources of every split; none for a development set held out of the training data."""
        dev = [] if isinstance(self.dev, Mapping) else list(self.dev)
        return {"train": list(self.train), "dev": dev, **self.test}

    @property
    def held_out(self) -> int:
        """N if every Nth training pair is held out as development set; 0 if that has sources of its own."""
        return self.dev["held_out"] if isinstance(self.dev, Mapping) else 0
