"""Importances of a row's components, read from analyses of its models (Wang and Tu 2020, section 2)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from nmtprune.analysis.importance import (
    Agreement,
    Importance,
    by_sentences,
    criticalities,
    criticalities_by_sentences,
    rank_agreement,
)
from nmtprune.experiment import recipe as recipes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import KINDS, read_component
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.measurements import seeds
from nmtprune.measurements.frame import columns_of, published_value
from nmtprune.measurements.measurements import Measured
from nmtprune.scoring.significance import likelihood_statistics, nll_per_token

CONTRIBUTIONS, CRITICALITIES = (
    ("contribution", "contribution_perplexity"),
    ("criticality", "criticality_settled"),
)
Maps = dict[tuple[int, str], Importance | None]  # by the place of the row and the metric
COLUMNS = ["row", "group", "label", "task", "recipe", "chain", "metric", "component", "kind", "layer"]
NUMBERS = ["value", "sd", "drop", "published"]


def columns(item: Item) -> list[Column]:
    """The columns of an item that are importances of components; its other columns are scores of models."""
    return [column for column in item.columns if METRICS[column.metric].by_component]


def maps(item: Item, measured: Measured) -> Maps:
    """The importances of an item's rows by each of its metrics."""
    return {
        (place, column.metric): importance(row, column.metric, measured)
        for place, row in enumerate(item.rows)
        for column in columns(item)
    }


def frame(item: Item, measured: Measured, maps: Maps) -> pd.DataFrame:
    """A frame with one row for each model, metric and component, and one for each score of a model.

    `value` and `sd` are means and standard deviations over the seeds that were analysed. `drop`: the BLEU
    that is lost without the component. Importances that are missing have one row that says why.
    """
    frames = []
    for place, row in enumerate(item.rows):
        about = {"row": place + 1, "group": row.group, "label": row.label, **columns_of(row.first)}
        for column in item.columns:
            absent = measured.reasons_of(row.chains, {METRICS[column.metric].reads})
            about |= {"metric": column.key, "seeds": len(row.chains) - len(absent)}
            about["missing"] = "; ".join(absent)
            if column in columns(item):
                numbers = _of_components(row, maps[place, column.metric], column.metric, measured)
            else:
                numbers = pd.DataFrame([_score(row, column, measured)])
            frames.append(numbers.assign(**about))
    every = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    every = every.reindex(columns=[*COLUMNS, *NUMBERS, "seeds", "missing"])
    return every.astype({"layer": "Int64", **dict.fromkeys(NUMBERS, float)})


def _of_components(row: Row, shown: Importance | None, metric: str, measured: Measured) -> pd.DataFrame:
    if shown is None:
        return pd.DataFrame([{"component": ""}])
    kinds, layers = zip(*map(read_component, shown.components), strict=True)
    numbers = pd.DataFrame({"component": shown.components, "kind": kinds, "layer": layers})
    if metric == "contribution":
        analyses = (measured.analysis(chain, metric) for chain in row.chains)
        drops = pd.concat(each for each in analyses if each is not None).groupby("component")["drop"].mean()
        numbers["drop"] = drops.reindex(numbers["component"]).to_numpy()
    return numbers.assign(value=shown.mean.to_numpy(), sd=shown.deviation.to_numpy())


def _score(row: Row, column: Column, measured: Measured) -> dict[str, float | str]:
    of_seeds = (measured.value(chain, column.metric, column.test_set) for chain in row.chains)
    values = [value for value in of_seeds if value is not None]
    return {
        "component": "",
        "value": seeds.mean(values),
        "sd": seeds.deviation(values),
        "published": published_value(row, column),
    }


def agreements_of_models(item: Item, maps: Maps) -> Iterator[tuple[Row, Column, dict[str, Agreement]]]:
    """How well rows rank components like a reference row of their group, by metric and group.

    The reference is the baseline row of the group, or its first row if there is no baseline. Yields the
    reference, the column of the metric, and the agreements by label; rows without importances are left out.
    """
    for column in columns(item):
        for group in dict.fromkeys(row.group for row in item.rows):
            places = [place for place, row in enumerate(item.rows) if row.group == group]
            base = next((place for place in places if item.rows[place].baseline), places[0])
            agreements = {
                item.rows[place].label: rank_agreement(ours, theirs)
                for place in places
                if place != base
                and (ours := maps[base, column.metric])
                and (theirs := maps[place, column.metric])
            }
            yield item.rows[base], column, agreements


def agreements_of_metrics(item: Item, maps: Maps) -> Iterator[tuple[Column, dict[str, Agreement]]]:
    """How well each further metric ranks a model's components like the first metric, by the row's name."""
    first, *others = columns(item)
    for column in others:
        yield (
            column,
            {
                row.name: rank_agreement(ours, theirs)
                for place, row in enumerate(item.rows)
                if (ours := maps[place, first.metric]) and (theirs := maps[place, column.metric])
            },
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
