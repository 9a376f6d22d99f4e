"""Contribution of components in information flow: the model with each of them ablated (Wang and Tu 2020, 2.1,
equation 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import contributions
from nmtprune.analysis.trials import State, Trials
from nmtprune.experiment.analysis_kinds import Analysis
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component
from nmtprune.experiment.config import Config
from nmtprune.pruning.components import ablation
from nmtprune.scoring.scorer import Measurement
from nmtprune.store import checkpoints

NAME, WHOLE = "contribution", "none"


def trials(run: Trials) -> dict[str, Callable[[], State]]:
    """The whole model, and each component without its output, by name."""
    return {
        WHOLE: lambda: run.state,
        **{str(each): lambda each=each: without(run, each) for each in run.components},
    }


def without(run: Trials, *ablated: Component) -> State:
    """The model with the output of components at zero; the residuals stay."""
    return checkpoints.masked(run.state, ablation(run.state, ablated))


def place(run: Trials, name: str) -> dict[str, Any]:
    """The columns that say which component a row is of; `none` is no component but the whole model."""
    found = next((each for each in run.components if str(each) == name), None)
    return {"component": name, "kind": found.kind if found else None, "layer": found.layer if found else None}


def scores(measured: Measurement) -> dict[str, Any]:
    return {
        "bleu": measured.bleu,
        "perplexity": measured.likelihood.perplexity,
        "nll_per_token": measured.likelihood.per_token,
        "engine": measured.engine,
    }


def analyse(config: Config, chain: Chain) -> Analysis:
    """A row a component, the first (`none`) the whole model, on the development set: `bleu`, `perplexity`,
    `nll_per_token`, what these lose without it (`drop`, `drop_nll`) and equation 1 of either loss
    (`contribution`, `contribution_perplexity`).

    Arrays, variants in the order of the rows: `bleu` [variants, sentences, 10] (as `Quality.statistics`),
    `nll` [variants, sentences] in nats and `tokens` [sentences], for intervals over sentences.
    """
    with Trials(config, chain, NAME) as run:
        found = {name: run.measure(name, altered) for name, altered in trials(run).items()}
    rows = pd.DataFrame({**place(run, name), **scores(each)} for name, each in found.items()).astype(
        {"layer": "Int64"}
    )
    whole, clip = rows.iloc[0], run.settings["clip"]
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
        "bleu": np.stack([each.statistics for each in found.values()]).astype(np.uint16),
        "nll": np.array([each.likelihood.sentences for each in found.values()], np.float32),
        "tokens": np.array(next(iter(found.values())).likelihood.tokens),
    }
    return Analysis(rows, arrays)
