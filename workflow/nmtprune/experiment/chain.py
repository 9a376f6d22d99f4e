"""Chains: the steps that made a model, written as its address `<task>/<recipe>/s<seed>/<step>/<step>/...`.

The registry `STEP_KINDS` holds what is known about each kind of step.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nmtprune.experiment.step_kinds import STEP_KINDS, StepKind
from nmtprune.foundation.errors import UserError, suggest

LARGEST_SEED = 2**32 - 1  # NumPy's limit


@dataclass(frozen=True)
class Step:
    """One step of a chain: its kind and its arguments by name."""

    text: str
    kind: StepKind
    arguments: tuple[tuple[str, str], ...]

    def __getitem__(self, argument: str) -> str:
        return dict(self.arguments)[argument]

    def get(self, argument: str) -> str | None:
        """The value of an argument; None if the step does not have it."""
        return dict(self.arguments).get(argument)

    @property
    def schedule(self) -> str:
        """The name of the recipe's schedule that a training step follows."""
        variant = self.get("variant")
        return f"{self.kind.name}-{variant}" if variant else self.kind.name

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Chain:
    """The address of a model; `steps` is never empty."""

    task: str
    recipe: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def last(self) -> Step:
        """The last step, which made the model."""
        return self.steps[-1]

    @property
    def root(self) -> Step:
        """The first step, a training or an import."""
        return self.steps[0]

    @property
    def parent(self) -> Chain | None:
        """The chain without its last step; None for a root."""
        return Chain(self.task, self.recipe, self.seed, self.steps[:-1]) if len(self.steps) > 1 else None

    @property
    def root_chain(self) -> Chain:
        """The model that the chain begins with: the chain of its root only."""
        return Chain(self.task, self.recipe, self.seed, self.steps[:1])

    @property
    def steps_text(self) -> str:
        """The steps as in the address: `train/prune-local-50/retrain`."""
        return "/".join(map(str, self.steps))

    @property
    def form(self) -> str:
        """The form of the model: `dense`, `sparse`, `sliced` or `quantised`.

        A mask holds weights of a sparse model at zero, a sliced model has a shape of its own, and an
        engine runs a quantised model in 8 bits.
        """
        return next(step.kind.leaves for step in reversed(self.steps) if step.kind.leaves)

    @property
    def quantised_for(self) -> str | None:
        """The engine that runs the model in 8 bits; None for a model in single precision."""
        return next((engine for step in reversed(self.steps) if (engine := step.get("engine"))), None)

    def ancestors(self) -> Iterator[Chain]:
        """The chain itself, its parent, and so on down to the root."""
        chain: Chain | None = self
        while chain:
            yield chain
            chain = chain.parent

    def of_its_job(self) -> list[Chain]:
        """The models that the job of the last step makes, in the order of the chain.

        They are the model itself and the selections directly below it.
        """
        below = self.parent.ancestors() if self.parent else ()
        return [self, *itertools.takewhile(lambda chain: chain.last.kind.selects, below)][::-1]

    @property
    def base(self) -> Chain | None:
        """The model that the job of the last step begins with; None for a root.

        It is the parent, or the model that the parent selects from.
        """
        return self.of_its_job()[0].parent

    def __str__(self) -> str:
        return f"{self.task}/{self.recipe}/s{self.seed}/{self.steps_text}"


@functools.cache  # the grids of a run repeat the same steps thousands of times
def parse_step(text: str) -> Step:
    """Read one step; raises UserError that names the step and the nearest valid one."""
    name, *arguments = text.split("-")
    kind = STEP_KINDS.get(name)
    if kind is None:
        raise UserError(f"unknown step `{text}`; {suggest(name, STEP_KINDS)}")
    try:
        if not all(arguments):
            raise ValueError("nothing stands between two hyphens or after the last one")
        read = kind.read_arguments(tuple(arguments))
    except ValueError as error:
        raise UserError(f"step `{text}`: {error} ({kind.usage})") from None
    return Step(text, kind, tuple(read.items()))


@functools.cache
def parse_steps(text: str) -> tuple[Step, ...]:
    """Read steps such as `train/prune-local-50/retrain`.

    Raises UserError if a step is unknown or may not follow the one before it.
    """
    steps = tuple(parse_step(part) for part in text.split("/"))
    root = steps[0].kind
    if root.follows:
        roots = [kind.usage for kind in STEP_KINDS.values() if not kind.follows]
        raise UserError(
            f"chain `{text}`: it cannot begin with `{steps[0]}`; a chain begins with one of "
            f"{', '.join(roots)}"
        )
    form = root.leaves
    for position, step in enumerate(steps[1:], 1):
        if form not in step.kind.follows:
            after = [kind.usage for kind in STEP_KINDS.values() if form in kind.follows]
            raise UserError(
                f"chain `{text}`: `{step}` cannot follow `{steps[position - 1]}`, which leaves a {form} "
                f"model; valid: {', '.join(after)}"
            )
        if reason := step.kind.refuses(step, steps[:position], form):
            raise UserError(f"chain `{text}`: `{step}` {reason}")
        form = step.kind.leaves or form
    return steps


def parse(text: str) -> Chain:
    """Read a complete address `<task>/<recipe>/s<seed>/<steps>`; raises UserError if it is not valid."""
    parts = text.strip("/").split("/", 3)
    if len(parts) < 4 or not re.fullmatch(r"s(0|[1-9][0-9]{0,99})", parts[2]):
        raise UserError(
            f"chain `{text}` is not of the form <task>/<recipe>/s<seed>/<step>/..., as in "
            "toy/toy/s1/train/prune-local-50"
        )
    task, recipe, seed, steps = parts
    if int(seed[1:]) > LARGEST_SEED:
        raise UserError(f"chain `{text}`: the seed {seed[1:]} is above {LARGEST_SEED}")
    return Chain(task, recipe, int(seed[1:]), parse_steps(steps))
