"""The registry of analyses: one entry for each, with everything that is known about it.

`analyse(config, chain)` in `analysis/<name>.py` makes an analysis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nmtprune.experiment import senteval, slices
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.step_kinds import dead_rule, prunable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from nmtprune.experiment.recipe import Importance

# The two rules of workflow/rules/analyses.smk that make several analyses each.
ON_CPU, ON_GPU = "matrix_analysis", "encoder_analysis"


@dataclass(frozen=True)
class Analysis:
    """The result of an analysis: `numbers`, a table with one row for each fact, and arrays by name."""

    numbers: pd.DataFrame
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class TrialCount(NamedTuple):
    """The number of altered models whose translations or likelihoods an analysis computes.

    `on_dev`, `on_test`: models that translate the development and the test set; `by_likelihood`: models
    that only score the development set.
    """

    on_dev: int
    on_test: int = 0
    by_likelihood: int = 0


def _nothing(config: Config, chain: Chain) -> dict[str, Any]:
    return {}


def _no_files(config: Config, task: str) -> list[Path]:
    return []


@dataclass(frozen=True)
class AnalysisKind:
    """A kind of analysis.

    `about`: what it looks at, as docs/chains.md prints it. `version`: raised when the same model gets
    other numbers. `rule`: the rule of analyses.smk that makes it: ON_CPU (with arrays), ON_GPU (numbers
    only), or a rule of its own. `settings`: the part of the configuration it depends on. `needs`: other
    analyses of the model that it reads. `own_files`: the user's own files that it reads for a task.
    `reads_first_weights`: it reads the initial weights of the chain's first training.

    An analysis of trials, which are altered models that translate, has more entries. `importance`: the
    keys of the recipe's `importance` that it depends on. `trials`: the number of trials, given the
    number of components and these settings. `caption`: the text about these settings in captions.
    `shared_out`: trials are independent of each other, so that they can be split over jobs.
    """

    name: str
    about: str
    version: int
    rule: str
    settings: Callable[[Config, Chain], dict[str, Any]] = _nothing
    needs: tuple[str, ...] = ()
    own_files: Callable[[Config, str], list[Path]] = _no_files
    reads_first_weights: bool = False
    importance: tuple[str, ...] = ()
    trials: Callable[[int, Importance], TrialCount] | None = None
    caption: Callable[[Importance], str] | None = None
    shared_out: bool = False

    @property
    def translates(self) -> bool:
        """Whether it makes trials, which are altered models that translate as the recipe says."""
        return self.trials is not None

    def identity(self, config: Config, chain: Chain) -> dict[str, Any]:
        """What it depends on besides its model; a parameter of its Snakemake job."""
        read = self.settings(config, chain)
        if self.translates:
            importance = config.recipe(chain.recipe).importance
            read |= {
                "scoring": slices.of_scores(config, chain.recipe),
                **{key: getattr(importance, key) for key in self.importance},
            }
        return {"version": self.version, **read}


def _probes(config: Config, chain: Chain) -> dict[str, Any]:
    return {
        **config.task(chain.task).probing.whole,
        "senteval": sorted(senteval.files_of(config.task(chain.task), config.data_dir)),
    }


def _senteval(config: Config, task: str) -> list[Path]:
    return list(senteval.files_of(config.task(task), config.data_dir).values())


def _ordering(components: int, importance: Importance) -> TrialCount:
    """Trials of both orders.

    Each step of the iterative order tries all components that are left, or those with the best
    likelihoods. Then both orders are translated completely.
    """
    left = range(components - 1, components - min(importance.group, components), -1)
    tried = sum(min(each, importance.candidates or each) for each in left)
    reported = 2 * (importance.group + 1)
    return TrialCount(tried + reported, reported, sum(left) if importance.candidates else 0)


def _order_said(importance: Importance) -> str:
    of = f" of the {importance.candidates} with the best perplexity" if importance.candidates else ""
    return (
        f"iterative: at each step the component{of} without which BLEU on the development set is highest is "
        "ablated too, up to "
        f"{importance.group}; one-shot: in the order of what each costs alone"
    )


ANALYSIS_KINDS = {
    kind.name: kind
    for kind in (
        AnalysisKind(
            "weights",
            "where weights were kept: shares by class, words that vanished, pictures",
            1,
            ON_CPU,
            prunable,
        ),
        AnalysisKind(
            "representations", "where the encoder puts the development set, as one mean vector", 1, ON_GPU
        ),
        AnalysisKind(
            "probing",
            "what ten linguistic probes find in the encoder's output",
            2,
            ON_GPU,
            _probes,
            own_files=_senteval,
        ),
        AnalysisKind(
            "matrices",
            "magnitudes of the first feed-forward matrices, and which blocks are empty",
            1,
            ON_CPU,
            dead_rule,
        ),
        AnalysisKind(
            "contribution",
            "what BLEU loses when a component is ablated",
            2,
            "contribution",
            importance=("beam", "sentences", "clip"),
            trials=lambda components, importance: TrialCount(1 + components),
            caption=lambda importance: (
                f"contribution: drops clipped at C = {importance.clip:g} % of the whole model's score, "
                "over the largest"
            ),
            shared_out=True,
        ),
        AnalysisKind(
            "criticality",
            "how far a component can be moved back towards its initial weights",
            2,
            "criticality",
            reads_first_weights=True,
            importance=("beam", "sentences", "steps"),
            trials=lambda components, importance: TrialCount(1 + components * importance.steps),
            caption=lambda importance: (
                f"criticality: epsilon {importance.epsilon:g} BLEU, alpha in steps of "
                f"{1 / importance.steps:g}"
            ),
            shared_out=True,
        ),
        AnalysisKind(
            "order",
            "an order in which components can be ablated one after the other with the least loss",
            2,
            "order",
            needs=("contribution",),
            importance=("beam", "sentences", "group", "candidates"),
            trials=_ordering,
            caption=_order_said,
        ),
        AnalysisKind(
            "similarity", "the similarity of each component's output to the model's output", 1, ON_GPU
        ),
        AnalysisKind(
            "isometry", "singular values of the Jacobians of components", 2, ON_GPU, reads_first_weights=True
        ),
    )
}


def shared_out() -> list[str]:
    """The analyses whose trials can be split over jobs."""
    return [kind.name for kind in ANALYSIS_KINDS.values() if kind.shared_out]


def of_rule(rule: str) -> str:
    """The analyses that a rule makes, as the constraint of its wildcard."""
    return "|".join(kind.name for kind in ANALYSIS_KINDS.values() if kind.rule == rule)
