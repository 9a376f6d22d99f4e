"""The run's own chains as a paper: a table and a plot of the models asked for.

They are beside their dense parents and controls. What this module states about own chains is what the
YAML files in workflow/papers state about a published paper; `nmtprune.experiment.papers` turns both into
items.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nmtprune.experiment import footing
from nmtprune.experiment.chain import Chain, parse, parse_steps
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.step_kinds import latest
from nmtprune.foundation.errors import UserError

PAPER, TABLE, PLOT = "chains", "models", "front"  # names of the paper, its table and its figure
MOST_ROUNDS = 4  # most trainings of a control, which has several if the chain has several rounds
# Schedules of the control of a dense model if no chain says how long to train it.
PLATEAU_CONTROLS = ("continue-short", "continue")
SHORT = "continue-short"


@dataclass(frozen=True)
class Block:
    """Chains that begin with one dense model, its controls, and the chains asked for.

    Each is a tuple of chains, one for each seed; controls train the dense model further.
    """

    parent: tuple[Chain, ...]
    controls: tuple[tuple[Chain, ...], ...]
    asked: tuple[tuple[Chain, ...], ...]

    @property
    def rows(self) -> list[tuple[Chain, ...]]:
        """All models of the block without repetition, the parent first."""
        return list(dict.fromkeys([self.parent, *self.controls, *self.asked]))


@dataclass(frozen=True)
class OwnChains:
    """The chains that the settings list, and what a paper's YAML files would state of them."""

    config: Config

    @functools.cached_property
    def chains(self) -> tuple[Chain, ...]:
        """The chains as they are listed. Raises UserError for one that cannot be made."""
        parsed = []
        for number, text in enumerate(self.config.settings["chains"], 1):
            try:
                parsed.append(parse(text))
                check_chain(self.config, parsed[-1])
            except UserError as error:
                raise UserError(f"config: chains: entry {number}: {error}") from None
        return tuple(parsed)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The chains by task, recipe, seeds and dense parent, in the order of the settings."""
        return tuple(_blocks(self.config, self.chains))

    @property
    def about(self) -> dict[str, Any]:
        """The run as a paper."""
        task, recipe = self.config.task, self.config.recipe
        return {
            "title": "The chains asked for",
            "authors": "This run",
            "short": self.config.name,
            "where": "not published",
            "items": [TABLE, PLOT],
            "tasks": {chain.task: task(chain.task).title for chain in self.chains},
            "recipes": {chain.recipe: recipe(chain.recipe).title for chain in self.chains},
        }

    def stated(self, name: str) -> dict[str, Any]:
        """The table or the plot in the terms of a paper's YAML file (schemas/item.schema.json)."""
        return _table(self) if name == TABLE else _plot(self)


def _blocks(config: Config, own_chains: Iterable[Chain]) -> Iterator[Block]:
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for chain in own_chains:
        seeds.setdefault((chain.task, chain.recipe, _text(chain)), []).append(chain.seed)
    asked: dict[tuple[Chain, ...], list[Chain]] = {}
    for (task, recipe, text), of_model in seeds.items():
        chain = Chain(task, recipe, of_model[0], parse_steps(text))
        models = tuple(sorted(set(of_model)))
        asked.setdefault(_seeds(dense_parent(config, chain), models), []).append(chain)
    for parent, chains in asked.items():
        models = tuple(chain.seed for chain in parent)
        controls = _controls(config, parent[0], chains) if config.settings["controls"] else []
        yield Block(
            parent,
            tuple(_seeds(each, models) for each in controls),
            tuple(_seeds(each, models) for each in chains),
        )


def _seeds(chain: Chain, seeds: Iterable[int]) -> tuple[Chain, ...]:
    return tuple(Chain(chain.task, chain.recipe, seed, chain.steps) for seed in seeds)


def _text(chain: Chain) -> str:
    return chain.steps_text


def _with(chain: Chain, *steps: str) -> Chain:
    return Chain(chain.task, chain.recipe, chain.seed, parse_steps("/".join(steps)))


def _is_regularised(chain: Chain) -> bool:
    return any(step.get("lambda") for step in chain.steps)


def dense_parent(config: Config, chain: Chain) -> Chain:
    """The dense model that a chain is compared with.

    It consists of the training or import that the chain begins with, and of trainings that directly
    follow it. A chain that is trained under a lasso is compared with the recipe's `train`, since it
    begins with a short pretraining.
    """
    if _is_regularised(chain) and chain.root.kind.trains and "train" in config.recipe(chain.recipe).schedules:
        return _with(chain, "train")
    first = 1
    while first < len(chain.steps) - 1 and chain.steps[first].kind.continues:
        first += 1
    return Chain(chain.task, chain.recipe, chain.seed, chain.steps[:first])


def _controls(config: Config, parent: Chain, chains: list[Chain]) -> list[Chain]:
    """The models that the chains of one dense parent are compared with.

    For each chain, the control is the parent trained for as many further updates; equal ones count once.
    If no chain trains further, the control shows whether the parent is on its plateau. Empty if the
    recipe has no schedule for a control.
    """
    others = [chain for chain in chains if chain.steps != parent.steps]
    matched = [control for chain in others if (control := control_of(config, parent, chain))]
    if others and not matched:
        schedules = config.recipe(parent.recipe).schedules
        matched = [_with(parent, _text(parent), name) for name in PLATEAU_CONTROLS if name in schedules][:1]
    return list(dict.fromkeys(matched))


def control_of(config: Config, parent: Chain, chain: Chain) -> Chain | None:
    """The control of a chain: its parent trained further by `continue` for as many updates.

    It also has fresh optimisers at the same updates if the recipe has such a schedule. The control of a
    lasso has the same phases without the lasso. None if the chain does not train its parent further.
    """
    if _is_regularised(chain):
        return _unregularised(chain)
    after = chain.steps[len(parent.steps) :]
    if any(step.kind.draws for step in after) or not any(step.kind.trains for step in after):
        return None
    wanted = _lengths(config, chain)[len(_lengths(config, parent)) :]
    variants = {step.get("variant") for step in after if step.kind.trains}
    names = [
        name
        for name in config.recipe(chain.recipe).schedules
        if name == "continue" or name.startswith("continue-")
    ]
    candidates = [
        _with(parent, _text(parent), *[name] * times) for name in names for times in range(1, MOST_ROUNDS + 1)
    ]

    def misfit(control: Chain) -> tuple[Any, ...]:
        lengths = _lengths(config, control)[len(_lengths(config, parent)) :]
        variant = None if control.last.text == SHORT else control.last.get("variant")
        # `continue-retrain-peak` is the control of `retrain-peak`
        variant = (variant and variant.removeprefix("retrain").removeprefix("-")) or None
        return (
            abs(sum(lengths) - sum(wanted)),
            variant not in variants,
            lengths != wanted,
            len(control.steps),
            control.last.text,
        )

    return min(candidates, key=misfit, default=None)


def _lengths(config: Config, chain: Chain) -> tuple[int, ...]:
    return footing.of(config, chain).lengths


def _unregularised(chain: Chain) -> Chain:
    """The same phases without lasso and slicing, up to the last phase that belongs to them."""
    last = max(
        place
        for place, step in enumerate(chain.steps)
        if step.kind.trains and step.kind.begins_with is latest
    )
    steps = []
    for step in chain.steps[: last + 1]:
        if step.get("lambda"):
            variant = step.get("variant")
            steps.append(
                "-".join(["lasso", step["groups"], step["where"], "0", *([variant] if variant else [])])
            )
        elif not step.kind.slices:
            steps.append(step.text)
    return _with(chain, *steps)


# --- what a paper's YAML files state


def _table(own: OwnChains) -> dict[str, Any]:
    names = [own.config.task(chain.task).tests for chain in own.chains]
    one_task = len({chain.task for chain in own.chains}) == 1
    tests = [
        names[0][place] if one_task else f"test set {place + 1}" for place in range(max(map(len, names)))
    ]
    timed = [
        {"metric": "words_per_second", "heading": "Words/s"},
        {"metric": "speed_up", "heading": "Speed-up"},
    ]
    return {
        "title": "each chain and what it is compared with",
        "kind": "table",
        "caption": " ".join(
            ["The chains of this run, each below the dense model that it begins with.", *_of_controls(own)]
        ),
        "headings": {"group": "Data and model", "label": "Chain"},
        "columns": [
            {"metric": "bleu", "heading": f"BLEU {tests[0]}"},
            {"metric": "delta", "heading": "Δ"},
            *(
                {"metric": "bleu", "heading": f"BLEU {test}", "test_set": place}
                for place, test in enumerate(tests[1:], 2)
            ),
            *({"metric": name, "heading": METRICS[name].title} for name in _measures(own.config)),
            {"metric": "dev_bleu", "heading": "BLEU dev"},
            {"metric": "sparsity", "heading": "Zeros (%)"},
            {"metric": "size_stored", "heading": "Size"},
            *(timed if own.config.settings["speed"] else []),
            {"metric": "updates", "heading": "Updates"},
        ],
        "rows": list(_rows(own, lambda chain, role: f"{_text(chain)}{f' ({role})' if role else ''}")),
    }


def _measures(config: Config) -> list[str]:
    """The metrics that the settings ask for besides BLEU and chrF."""
    return [*config.settings["measures"], *(["comet"] if config.settings["comet_model"] else [])]


def _of_controls(own: OwnChains) -> Iterator[str]:
    """Sentences on what the controls are, and which dense models have none."""
    if not own.config.settings["controls"]:
        yield (
            "There are no controls (`controls: false`), so it is unknown whether further training alone "
            "would gain as much."
        )
        return
    controls = [control[0] for block in own.blocks for control in block.controls]
    if any(not _is_regularised(control) for control in controls):
        yield (
            "The control is that model trained further for as many updates, so that a gain over it is not "
            "due to further training."
        )
    if any(_is_regularised(control) for control in controls):
        yield "The control of a lasso has the same phases with λ = 0."
    lacking = dict.fromkeys(
        block.parent[0].recipe
        for block in own.blocks
        if not block.controls and any(each != block.parent for each in block.asked)
    )
    if lacking:
        yield (
            f"There is no control for {', '.join(lacking)}; "
            "a schedule `continue` in the recipe would give one."
        )


def _plot(own: OwnChains) -> dict[str, Any]:
    kinds = {"dense": "dense", "control": "control", "": "asked for"}
    speed = (
        [{"metric": "words_per_second", "heading": "Source words per second"}]
        if own.config.settings["speed"]
        else []
    )
    return {
        "title": f"quality against size{' and speed' if speed else ''}",
        "kind": "front",
        "caption": (
            f"BLEU against size{' and speed' if speed else ''} of the chains of this run, their dense "
            "parents and their controls."
        ),
        "columns": [
            {"metric": "bleu", "heading": "BLEU"},
            {"metric": "size_stored", "heading": "Size (MB)"},
            *speed,
        ],
        "rows": list(_rows(own, lambda chain, role: f"{kinds[role]}, {_text(chain)}")),
    }


def _rows(own: OwnChains, label: Any) -> Iterator[dict[str, Any]]:
    """A row for each model: the dense parent, its controls, and the chains asked for.

    `label`: a function of a model's chain and its role (`dense`, `control` or empty) that gives its
    label.
    """
    several = len({(block.parent[0].task, block.parent[0].recipe) for block in own.blocks}) > 1
    for block in own.blocks:
        for chains in block.rows:
            first = chains[0]
            role = "dense" if chains == block.parent else "control" if chains in block.controls else ""
            yield {
                "label": label(first, role),
                "group": f"{first.task}, {first.recipe}" if several else "",
                "task": first.task,
                "recipe": first.recipe,
                "seed": [chain.seed for chain in chains],
                "chain": _text(first),
                "baseline": chains == block.parent,
            }
