"""Chains: the steps that made a model, written as its address `<task>/<recipe>/s<seed>/<step>/<step>/...`.

The registry `FAMILIES` is the only list of steps: what arguments they take, what they may follow, what they leave behind and which
version of their implementation makes them.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nmtprune.experiment.components import read_component
from nmtprune.foundation.errors import UserError, suggest

SCHEMES = ("global", "uniform", "distribution", "local", "layer")
INITIALISATIONS = ("zero", "external")
GROUPS = ("ffn", "ffn+att", "ffn+heads", "blocks8")
WHERE = ("enc", "dec", "both")
INT8_ENGINES = ("ctranslate2", "onnx")
SOUGHT = "to"  # before the sparsity in percent that a lambda is sought for
INITIAL = "0"  # of `at`: the weights before the first update
LARGEST_SEED = 2**32 - 1  # that NumPy takes
DENSE, SPARSE, SLICED, INT8 = "dense", "sparse", "sliced", "quantised"


@dataclass(frozen=True)
class Family:
    """A kind of step.

    `follows`: the states of a model it may follow; none for the root of a chain. `leaves`: the state it leaves, or None where the
    parent's state stays. `trains`: it updates weights by a schedule of the recipe. `selects`: it stores a choice (a mask), not a
    model. `latest`: it goes on from the parent's latest checkpoint, not from the selected one. `draws`: it begins with newly drawn
    weights. `competes`: the parent may be selected, as the checkpoint of update 0. `of_transformers`: only a Transformer can take it.
    `version` grows when the implementation changes what the step computes.
    """

    name: str
    usage: str
    follows: tuple[str, ...]
    leaves: str | None
    read_arguments: Callable[[tuple[str, ...]], dict[str, str]]
    trains: bool = False
    selects: bool = False
    latest: bool = False
    draws: bool = False
    competes: bool = False
    of_transformers: bool = False
    version: int = 1


def _schedule(arguments: tuple[str, ...]) -> dict[str, str]:
    return {"variant": "-".join(arguments)} if arguments else {}


def _name(arguments: tuple[str, ...]) -> dict[str, str]:
    if not arguments:
        raise ValueError("a name is missing")
    return {"name": "-".join(arguments)}


_NUMBER = r"(0|[1-9]\d*)(\.\d*[1-9])?"


def _percent(text: str) -> str:
    if not re.fullmatch(_NUMBER, text):
        raise ValueError(f"`{text}` is not a percentage; write it as 50 or 12.5")
    if not 0 < float(text) < 100:
        raise ValueError(f"{text} percent is not between 0 and 100")
    return text


def _scheme_and_percent(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) not in (2, 3):
        raise ValueError("a scheme and a percentage are needed")
    scheme, percent, *only = arguments
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme `{scheme}`; {suggest(scheme, SCHEMES)}")
    return {"scheme": scheme, "percent": _percent(percent), **({"class": only[0]} if only else {})}


def _one_of(key: str, valid: tuple[str, ...], optional: bool = False) -> Callable[[tuple[str, ...]], dict[str, str]]:
    def read(arguments: tuple[str, ...]) -> dict[str, str]:
        if not arguments and optional:
            return {}
        value = "-".join(arguments)
        if value not in valid:
            raise ValueError(f"unknown {key} `{value}`; {suggest(value, valid)}")
        return {key: value}

    return read


def _rejuvenate(arguments: tuple[str, ...]) -> dict[str, str]:
    return _one_of("initialisation", INITIALISATIONS)(arguments[:1]) | _schedule(arguments[1:])


def _lasso(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) < 3:
        raise ValueError("groups, a place and a lambda are needed")
    groups, where, penalty, *variant = arguments
    for value, valid, what in ((groups, GROUPS, "groups"), (where, WHERE, "place")):
        if value not in valid:
            raise ValueError(f"unknown {what} `{value}`; {suggest(value, valid)}")
    if penalty.startswith(SOUGHT):
        _percent(penalty.removeprefix(SOUGHT))
        if groups == "blocks8":
            raise ValueError("a sparsity is of hidden units, which `blocks8` does not speak of; give a lambda")
    elif not re.fullmatch(_NUMBER, penalty):
        raise ValueError(f"`{penalty}` is no lambda; write it as 1 or 0.15, or to67 for the lambda that leads to a sparsity of 67 %")
    return {"groups": groups, "where": where, "lambda": penalty, **_schedule(tuple(variant))}


def sparsity_sought(penalty: str) -> float | None:
    """The percentage of a lasso's `to67`, which seeks the lambda that leads there; None of a lambda itself."""
    return float(penalty.removeprefix(SOUGHT)) if penalty.startswith(SOUGHT) else None


def _part_of_training(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) != 1:
        raise ValueError("one percentage is needed")
    return {"percent": INITIAL if arguments[0] == INITIAL else _percent(arguments[0])}


def _components(arguments: tuple[str, ...]) -> dict[str, str]:
    if len(arguments) != 1:
        raise ValueError("components are needed, joined by +")
    named = arguments[0].split("+")
    for name in named:
        read_component(name)
    if len(set(named)) < len(named):
        raise ValueError("a component is named twice")
    return {"components": arguments[0]}


def _count(arguments: tuple[str, ...]) -> dict[str, str]:
    if not arguments or not re.fullmatch(r"[1-9]\d*", arguments[0]):
        raise ValueError("how many components, from 1 on, is needed")
    return {"count": arguments[0], **_schedule(arguments[1:])}


def _nothing(arguments: tuple[str, ...]) -> dict[str, str]:
    if arguments:
        raise ValueError("it takes no argument")
    return {}


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("train", "train[-<schedule>]", (), DENSE, _schedule, trains=True, draws=True),
        Family("import", "import-<name>", (), DENSE, _name),
        Family("continue", "continue[-<schedule>]", (DENSE, SLICED), DENSE, _schedule, trains=True, competes=True, version=2),
        Family("prune", "prune-<scheme>-<percent>[-<class>]", (DENSE, SPARSE, SLICED), SPARSE, _scheme_and_percent, selects=True),
        Family("retrain", "retrain[-<schedule>]", (SPARSE,), SPARSE, _schedule, trains=True, competes=True, version=2),
        Family(
            "rejuvenate",
            "rejuvenate-<zero|external>[-<schedule>]",
            (SPARSE,),
            DENSE,
            _rejuvenate,
            trains=True,
            competes=True,
            version=2,
        ),
        Family(
            "restart",
            "restart[-ticket]",
            (SPARSE, SLICED),
            None,
            _one_of("weights", ("ticket",), optional=True),
            trains=True,
            draws=True,
            version=2,
        ),
        Family(
            "lasso",
            "lasso-<groups>-<where>-<lambda>[-<schedule>]",
            (DENSE, SLICED),
            None,
            _lasso,
            trains=True,
            version=2,
            latest=True,
            of_transformers=True,
        ),
        Family("slice", "slice", (DENSE, SLICED), SLICED, _nothing, latest=True, of_transformers=True),
        Family("converge", "converge[-<schedule>]", (DENSE, SLICED), None, _schedule, trains=True, version=2, latest=True),
        Family(
            "ablate",
            "ablate-<component>[+<component>...]",
            (DENSE, SPARSE, SLICED),
            SPARSE,
            _components,
            selects=True,
            of_transformers=True,
        ),
        Family("rewind", "rewind-<k>[-<schedule>]", (DENSE,), None, _count, trains=True, competes=True, of_transformers=True, version=2),
        Family("drop", "drop-<k>[-<schedule>]", (DENSE,), SLICED, _count, trains=True, draws=True, of_transformers=True, version=2),
        Family("int8", "int8-<engine>", (DENSE, SPARSE, SLICED), INT8, _one_of("engine", INT8_ENGINES), of_transformers=True),
        Family("finetune", "finetune[-<schedule>]", (INT8,), None, _schedule, trains=True, competes=True, version=2),
        Family("at", "at-<percent>", (DENSE, SPARSE, SLICED, INT8), None, _part_of_training),
    )
}


@dataclass(frozen=True)
class Step:
    """One step of a chain: its family and its arguments by name."""

    text: str
    family: Family
    arguments: tuple[tuple[str, str], ...]

    def __getitem__(self, argument: str) -> str:
        return dict(self.arguments)[argument]

    def get(self, argument: str) -> str | None:
        return dict(self.arguments).get(argument)

    @property
    def needs_order(self) -> bool:
        """Whether it takes the least important components of its parent, by the parent's analysis `order`."""
        return self.get("count") is not None

    @property
    def schedule(self) -> str:
        """The name of the recipe's schedule that a training step follows."""
        variant = self.get("variant")
        return f"{self.family.name}-{variant}" if variant else self.family.name

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Chain:
    """A model's address. `steps` is never empty."""

    task: str
    recipe: str
    seed: int
    steps: tuple[Step, ...]

    @property
    def last(self) -> Step:
        return self.steps[-1]

    @property
    def root(self) -> Step:
        return self.steps[0]

    @property
    def parent(self) -> Chain | None:
        """The chain without its last step; None for a root."""
        return Chain(self.task, self.recipe, self.seed, self.steps[:-1]) if len(self.steps) > 1 else None

    @property
    def steps_text(self) -> str:
        """The steps as in the address: `train/prune-local-50/retrain`."""
        return "/".join(map(str, self.steps))

    @property
    def state(self) -> str:
        """`dense`, `sparse` where a mask holds, `sliced` where the shape is its own, `quantised` where an engine runs it in 8 bits."""
        return next(step.family.leaves for step in reversed(self.steps) if step.family.leaves)

    @property
    def quantised_for(self) -> str | None:
        """The engine that runs the model in 8 bits; None where it stays in single precision."""
        return next((step["engine"] for step in reversed(self.steps) if step.family.name == "int8"), None)

    def ancestors(self) -> Iterator[Chain]:
        """The chain itself, its parent, ... down to the root."""
        chain: Chain | None = self
        while chain:
            yield chain
            chain = chain.parent

    def of_its_job(self) -> list[Chain]:
        """What the job of its last step makes: the selections right below it, the first one first, and itself."""
        below = self.parent.ancestors() if self.parent else ()
        return [self, *itertools.takewhile(lambda chain: chain.last.family.selects, below)][::-1]

    @property
    def base(self) -> Chain | None:
        """The model that the job of its last step begins with: its parent, or what its parent selects from; None for a root."""
        return self.of_its_job()[0].parent

    def __str__(self) -> str:
        return f"{self.task}/{self.recipe}/s{self.seed}/{self.steps_text}"


@functools.cache  # the grids of a run say the same steps thousands of times
def parse_step(text: str) -> Step:
    """Read one step. Raises UserError that names the step and the nearest valid one."""
    name, *arguments = text.split("-")
    family = FAMILIES.get(name)
    if family is None:
        raise UserError(f"unknown step `{text}`; {suggest(name, FAMILIES)}")
    try:
        if not all(arguments):
            raise ValueError("nothing stands between two hyphens or after the last one")
        read = family.read_arguments(tuple(arguments))
    except ValueError as error:
        raise UserError(f"step `{text}`: {error} ({family.usage})") from None
    return Step(text, family, tuple(read.items()))


@functools.cache
def parse_steps(text: str) -> tuple[Step, ...]:
    """Read `train/prune-local-50/retrain`. Raises UserError where a step is unknown or may not follow the one before it."""
    steps = tuple(parse_step(part) for part in text.split("/"))
    state = None
    for position, step in enumerate(steps):
        family = step.family
        if position == 0 and family.follows:
            roots = [f.usage for f in FAMILIES.values() if not f.follows]
            raise UserError(f"chain `{text}`: it cannot begin with `{step}`; a chain begins with one of {', '.join(roots)}")
        if position > 0:
            before = steps[position - 1]
            if state not in family.follows:
                after = [f.usage for f in FAMILIES.values() if state in f.follows]
                raise UserError(
                    f"chain `{text}`: `{step}` cannot follow `{before}`, which leaves a {state} model; valid: {', '.join(after)}"
                )
            if mistake := _not_after(step, steps[:position], state):
                raise UserError(f"chain `{text}`: `{step}` {mistake}")
        state = family.leaves or state
    return steps


def _not_after(step: Step, before: tuple[Step, ...], state: str) -> str | None:
    """Why a step cannot come after those `before` it that leave a model of this `state`; None where it can, as far as is seen here."""
    root, last = before[0], before[-1]
    initial = f"needs the initial weights of a `train`, and `{root}` has none"
    if step.family.name == "at" and not last.family.trains:
        return f"follows a step that trains, and `{last}` does not"
    if step.family.name == "at" and step["percent"] == INITIAL and (len(before) > 1 or not root.family.trains):
        return f"is the initial weights of a `train` that begins the chain, and not of `{last}`"
    if step.family.name == "rewind" and not root.family.trains:
        return f"{initial}; valid: continue"
    if step.get("weights") == "ticket" and not root.family.trains:
        return f"{initial}; valid: restart"
    if step.get("weights") == "ticket" and state == SLICED:
        return "needs the initial weights of a `train`, and those are of another shape than the sliced model's; valid: restart"
    return None


def parse(text: str) -> Chain:
    """Read a whole address `<task>/<recipe>/s<seed>/<steps>`. Raises UserError."""
    parts = text.strip("/").split("/", 3)
    if len(parts) < 4 or not re.fullmatch(r"s(0|[1-9][0-9]{0,99})", parts[2]):
        raise UserError(f"chain `{text}` is not of the form <task>/<recipe>/s<seed>/<step>/..., as in toy/toy/s1/train/prune-local-50")
    task, recipe, seed, steps = parts
    if int(seed[1:]) > LARGEST_SEED:
        raise UserError(f"chain `{text}`: the seed {seed[1:]} is above {LARGEST_SEED}")
    return Chain(task, recipe, int(seed[1:]), parse_steps(steps))
