"""Contribution of components in information flow (Wang and Tu 2020, section 2.1, equation 1).

A component's contribution is measured by the model's scores with that component ablated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import contributions
from nmtprune.analysis.trials import Trials, Weights
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component
from nmtprune.experiment.config import Config
from nmtprune.foundation.known import known
from nmtprune.pruning.components import ablation
from nmtprune.scoring.scorer import Measurement
from nmtprune.store import checkpoints

NAME, WHOLE = "contribution", "none"


def trials(run: Trials) -> dict[str, Callable[[], Weights]]:
    """The whole model and, by name of the component, the model with each single component ablated."""
    return {
        WHOLE: lambda: run.weights,
        **{str(each): lambda each=each: without(run, each) for each in run.components},
    }


def without(run: Trials, *ablated: Component) -> Weights:
    """The model with the outputs of components at zero; the residual connections stay."""
    return checkpoints.masked(run.weights, ablation(run.weights, ablated))


def place(run: Trials, name: str) -> dict[str, Any]:
    """The columns that identify a row's component; `none` stands for the whole model."""
    component = next((each for each in run.components if str(each) == name), None)
    return {
        "component": name,
        "kind": component.kind if component else None,
        "layer": component.layer if component else None,
    }


def scores(measured: Measurement) -> dict[str, Any]:
    """The columns with the scores of one trial on the development set."""
    return {
        "bleu": measured.bleu,
        "perplexity": measured.likelihood.perplexity,
        "nll_per_token": measured.likelihood.per_token,
        "engine": measured.engine,
    }


def analyse(config: Config, chain: Chain) -> Analysis:
    """Scores on the development set with each component ablated; the first row (`none`) is the whole model.

    Columns: `bleu`, `perplexity` and `nll_per_token` without the component, the losses in BLEU and
    likelihood that follow (`drop`, `drop_nll`), and equation 1 of each loss (`contribution`,
    `contribution_perplexity`).

    Arrays for intervals over sentences, variants in the order of the rows: `bleu` [variants, sentences,
    10] (as `Quality.statistics`), `nll` [variants, sentences] in nats, and `tokens` [sentences].
    """
    with Trials(config, chain, NAME) as run:
        measured = {name: run.measure(name, altered) for name, altered in trials(run).items()}
    rows = pd.DataFrame({**place(run, name), **scores(each)} for name, each in measured.items()).astype(
        {"layer": "Int64"}
    )
    whole, clip = rows.iloc[0], run.settings.clip
    rows["drop"], rows["drop_nll"] = (
        whole["bleu"] - rows["bleu"],
        rows["nll_per_token"] - whole["nll_per_token"],
    )
    rows["contribution"] = [np.nan, *contributions(whole["bleu"], rows["bleu"].to_numpy()[1:], clip)]
    rows["contribution_perplexity"] = [
        np.nan,
        *contributions(-whole["nll_per_token"], -rows["nll_per_token"].to_numpy()[1:], clip),
    ]
    arrays = {
        "bleu": np.stack([known(each.statistics) for each in measured.values()]).astype(np.uint16),
        "nll": np.array([each.likelihood.sentences for each in measured.values()], np.float32),
        "tokens": np.array(next(iter(measured.values())).likelihood.tokens),
    }
    return Analysis(rows, arrays)
