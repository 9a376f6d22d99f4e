"""Criticality of components in representation generalisation (Wang and Tu 2020, section 2.2, equation 2).

Each component is measured at several points on the line from its initial to its final weights.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from nmtprune.analysis.contribution import WHOLE, place, scores
from nmtprune.analysis.trials import Trials, Weights
from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known
from nmtprune.pruning.components import moved
from nmtprune.store import checkpoints

NAME = "criticality"


def trials(run: Trials) -> dict[str, Callable[[], Weights]]:
    """The whole model, and the model with each component at each alpha below 1, by name.

    Raises UserError for a model whose initial weights do not exist or have other shapes.
    """
    if not run.chain.root.kind.trains:
        raise UserError(
            f"criticality needs the initial weights of a `train`, and chain `{run.chain}` begins with "
            f"`{run.chain.root}`"
        )
    initial = checkpoints.read(paths.first_weights(run.chain))["model"]
    misfit = [
        name
        for name, tensor in run.weights.items()
        if name not in initial or initial[name].shape != tensor.shape
    ]
    if misfit:
        raise UserError(
            f"criticality of chain `{run.chain}`: its initial weights are of another shape (`{misfit[0]}`)"
        )
    steps = run.settings.steps
    altered: dict[str, Callable[[], Weights]] = {WHOLE: lambda: run.weights}
    for each in run.components:
        for step in range(steps):
            altered[f"{each} {step / steps:g}"] = lambda each=each, alpha=step / steps: moved(
                run.weights, initial, each, alpha
            )
    return altered


def analyse(config: Config, chain: Chain) -> Analysis:
    """Scores on the development set for each component and alpha: `bleu`, `perplexity`, `nll_per_token`.

    The first row (`none`, alpha 1) is the whole model. All values of alpha are measured, since BLEU may
    not rise monotonically with alpha. Array for intervals over sentences: `bleu` [rows, sentences, 10]
    (as `Quality.statistics`).
    """
    with Trials(config, chain, NAME) as run:
        measurements = {name: run.measure(name, altered) for name, altered in trials(run).items()}
    rows = []
    for name, measured in measurements.items():
        component, _, alpha = name.partition(" ")
        rows.append({**place(run, component), "alpha": float(alpha or 1), **scores(measured)})
    statistics = np.stack([known(each.statistics) for each in measurements.values()]).astype(np.uint16)
    return Analysis(pd.DataFrame(rows).astype({"layer": "Int64"}), {"bleu": statistics})
