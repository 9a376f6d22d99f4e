"""Importances of a row's components, read from analyses of its models (Wang and Tu 2020, section 2)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import Importance, by_sentences, criticalities, criticalities_by_sentences
from nmtprune.experiment import recipe as recipes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import KINDS, read_component
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Row
from nmtprune.measurements.measurements import Measured
from nmtprune.scoring.significance import likelihood_statistics, nll_per_token

CONTRIBUTIONS, CRITICALITIES = (
    ("contribution", "contribution_perplexity"),
    ("criticality", "criticality_settled"),
)


def importance(row: Row, metric: str, measured: Measured) -> Importance | None:
    """A row's importances by one metric, one line for each seed that has been analysed; None if none has.

    Bootstrap replicates are included if the sentence statistics of all these models were kept.
    """
    analyses = [
        (chain, each)
        for chain in row.chains
        if (each := measured.analysis(chain, METRICS[metric].reads)) is not None
    ]
    if not analyses:
        return None
    settings = measured.config.recipe(row.first.recipe).importance
    values = pd.DataFrame([_values(numbers, metric, settings) for _, numbers in analyses])
    components = tuple(sorted(values.columns, key=place))
    replicates = [
        _replicates(chain, numbers, metric, components, settings, measured) for chain, numbers in analyses
    ]
    drawn = [each for each in replicates if each is not None]
    of_all_seeds = np.stack(drawn) if len(drawn) == len(replicates) else None
    return Importance(components, values[list(components)].to_numpy(float), of_all_seeds)


def place(component: str) -> tuple[int, int]:
    """The sort key of a component in heat maps: by kind, then from the bottom layer up."""
    kind, layer = read_component(component)
    return list(KINDS).index(kind), layer


def _values(numbers: pd.DataFrame, metric: str, settings: recipes.Importance) -> pd.Series:
    """The importance of each component of one model, from the numbers of its analysis."""
    intact, changed = numbers[numbers["component"] == "none"], numbers[numbers["component"] != "none"]
    if metric in CONTRIBUTIONS:
        return changed.set_index("component")[metric].astype(float)
    baseline = float(intact["bleu"].iloc[0])
    which = CRITICALITIES.index(metric)
    values = {}
    for component, group in changed.groupby("component", sort=False):
        by_alpha = pd.concat(
            [group.set_index("alpha")["bleu"].drop(1.0, errors="ignore"), pd.Series({1.0: baseline})]
        )
        values[component] = criticalities(baseline, by_alpha, settings.epsilon)[which]
    return pd.Series(values, dtype=float)


def _replicates(
    chain: Chain,
    numbers: pd.DataFrame,
    metric: str,
    components: tuple[str, ...],
    settings: recipes.Importance,
    measured: Measured,
) -> np.ndarray | None:
    """[samples, components]: importances on bootstrap samples of sentences.

    None if the sentence statistics were not kept.
    """
    arrays = measured.arrays(chain, METRICS[metric].reads)
    if arrays is None or "bleu" not in arrays:
        return None
    if metric in CRITICALITIES:
        rows = numbers.reset_index(drop=True)
        drawn = criticalities_by_sentences(
            arrays["bleu"], rows["component"], rows["alpha"], settings.epsilon, metric == CRITICALITIES[1]
        )
        return drawn[list(components)].to_numpy()
    if metric == "contribution":
        drawn = by_sentences(arrays["bleu"], settings.clip)
    else:
        statistics = np.concatenate([likelihood_statistics(nll, arrays["tokens"]) for nll in arrays["nll"]])
        drawn = by_sentences(statistics, settings.clip, score=lambda sums: -nll_per_token(sums))
    named = pd.DataFrame(drawn, columns=numbers["component"].iloc[1:])
    return named.reindex(columns=list(components)).to_numpy()
