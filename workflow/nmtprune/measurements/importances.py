"""Importances of a row's components, read from analyses of its models (Wang and Tu 2020, section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import Importance, by_sentences, criticalities, criticalities_by_sentences
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import KINDS, read_component
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Row
from nmtprune.measurements.measurements import Measured
from nmtprune.scoring.significance import likelihood_statistics, nll_per_token

CONTRIBUTIONS, CRITICALITIES = ("contribution", "contribution_perplexity"), ("criticality", "criticality_settled")


def importance(row: Row, metric: str, measured: Measured) -> Importance | None:
    """A row's importances by one metric, a line a seed that is there; None where none is. Replicates come with
    those whose models all have kept the statistics of sentences."""
    found = [(chain, each) for chain in row.chains if (each := measured.analysis(chain, METRICS[metric].reads)) is not None]
    if not found:
        return None
    settings = measured.config.importance(row.first.recipe)
    values = pd.DataFrame([_values(numbers, metric, settings) for _, numbers in found])
    components = tuple(sorted(values.columns, key=place))
    replicates = [_replicates(chain, numbers, metric, components, settings, measured) for chain, numbers in found]
    whole = None if any(each is None for each in replicates) else np.stack(replicates)
    return Importance(components, values[list(components)].to_numpy(float), whole)


def place(component: str) -> tuple[int, int]:
    """Where a component stands in the order of maps: by kind, from the bottom layer up."""
    kind, layer = read_component(component)
    return list(KINDS).index(kind), layer


def _values(numbers: pd.DataFrame, metric: str, settings: Mapping) -> pd.Series:
    """By component, from an analysis' numbers of one model."""
    whole, parts = numbers[numbers["component"] == "none"], numbers[numbers["component"] != "none"]
    if metric in CONTRIBUTIONS:
        return parts.set_index("component")[metric].astype(float)
    baseline = float(whole["bleu"].iloc[0])
    which = CRITICALITIES.index(metric)
    values = {}
    for component, group in parts.groupby("component", sort=False):
        by_alpha = pd.concat([group.set_index("alpha")["bleu"].drop(1.0, errors="ignore"), pd.Series({1.0: baseline})])
        values[component] = criticalities(baseline, by_alpha, settings["epsilon"])[which]
    return pd.Series(values, dtype=float)


def _replicates(
    chain: Chain, numbers: pd.DataFrame, metric: str, components: tuple[str, ...], settings: Mapping, measured: Measured
) -> np.ndarray | None:
    """[samples, components]: importances of bootstrap samples of sentences; None where the statistics of sentences were not kept."""
    arrays = measured.arrays(chain, METRICS[metric].reads)
    if arrays is None or "bleu" not in arrays:
        return None
    if metric in CRITICALITIES:
        rows = numbers.reset_index(drop=True)
        drawn = criticalities_by_sentences(
            arrays["bleu"], rows["component"], rows["alpha"], settings["epsilon"], metric == CRITICALITIES[1]
        )
        return drawn[list(components)].to_numpy()
    if metric == "contribution":
        drawn = by_sentences(arrays["bleu"], settings["clip"])
    else:
        statistics = np.concatenate([likelihood_statistics(nll, arrays["tokens"]) for nll in arrays["nll"]])
        drawn = by_sentences(statistics, settings["clip"], score=lambda sums: -nll_per_token(sums))
    named = pd.DataFrame(drawn, columns=numbers["component"].iloc[1:])
    return named.reindex(columns=list(components)).to_numpy()
