"""How similar the outputs of a model's most and least important components are to the model's output.

This is table 1 of Wang and Tu (2020). For both groups of components there are their names and mean PWCCA, and
for the difference of the means a p-value by permutation. Table 1 and its claim print these numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.papers import Item
from nmtprune.measurements import seeds
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured

GROUPS = ("Important", "Unimportant")
SAMPLES, SEED = 10_000, 12345


@dataclass(frozen=True)
class Similar:
    """One model: the similarity of each component's output to the model's (`pwcca`), and two groups.

    The groups are its most and its least important components.
    """

    pwcca: pd.Series
    groups: dict[str, list[str]]

    def means(self) -> dict[str, float]:
        """The mean similarity of each group."""
        return {group: float(self.pwcca[names].mean()) for group, names in self.groups.items()}


def important(contribution: pd.DataFrame, k: int) -> list[str]:
    """The k components that contribute most.

    Of equal contributions (they are clipped), the larger drop in BLEU comes first.
    """
    ablated = contribution[contribution["component"].notna() & (contribution["component"] != "none")]
    return (
        ablated.sort_values(["contribution", "drop"], ascending=False, kind="stable")["component"]
        .head(k)
        .tolist()
    )


def unimportant(order: pd.DataFrame, k: int) -> list[str]:
    """The first k components that iterative ablation removes."""
    removed = order[(order["method"] == "iterative") & (order["number"] > 0)]
    return removed.sort_values("number")["component"].head(k).tolist()


def similar(chain: Chain, measured: Measured) -> Similar | None:
    """The similarities and groups of one model; None if one of the analyses behind them is missing."""
    similarity, contribution, order = (
        measured.analysis(chain, name) for name in ("similarity", "contribution", "order")
    )
    if similarity is None or contribution is None or order is None:
        return None
    k = measured.config.recipe(chain.recipe).importance.group
    names = important(contribution, k), unimportant(order, k)
    groups: dict[str, list[str]] = dict(zip(GROUPS, names, strict=True))
    return Similar(similarity.set_index("component")["pwcca"], groups)


@dataclass(frozen=True)
class Difference:
    """The difference in similarity over several seeds.

    `difference`: the mean PWCCA of the models' most important components minus that of their least important
    ones; `p`: its two-sided p-value (see `permutation`).
    """

    models: tuple[Similar, ...]
    difference: float
    p: float

    def mean(self, group: str) -> float:
        """The mean similarity of a group over all models."""
        return seeds.mean([each.means()[group] for each in self.models])


def difference(chains: Iterable[Chain], measured: Measured) -> Difference:
    """The difference over those of a row's models that have been analysed."""
    models = tuple(each for chain in chains if (each := similar(chain, measured)))
    return Difference(models, *permutation(models))


def similarities(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with one row for each model and group.

    `pwcca`: the mean over the group's components, then over seeds; `pwcca_sd`: the standard deviation over
    seeds. `components` names the components of the group, by seed if seeds differ; `size` is their number
    and `shared` the number of those in both groups (means over seeds). `difference` and `p`: see
    `Difference`.
    """
    records = []
    for row in item.rows:
        result = difference(row.chains, measured)
        absent = measured.reasons_of(row.chains, item.reads)
        for group, other in zip(GROUPS, reversed(GROUPS), strict=True):
            values = [each.means()[group] for each in result.models]
            named = dict.fromkeys(" ".join(each.groups[group]) for each in result.models)
            shared = [len(set(each.groups[group]) & set(each.groups[other])) for each in result.models]
            records.append(
                {
                    "group": group,
                    "label": row.label,
                    **columns_of(row.first),
                    "components": "; ".join(named),
                    "size": seeds.mean([len(each.groups[group]) for each in result.models]),
                    "shared": seeds.mean(shared),
                    "pwcca": seeds.mean(values),
                    "pwcca_sd": seeds.deviation(values),
                    "difference": result.difference,
                    "p": result.p,
                    "seeds": len(result.models),
                    "pwcca_published": float(row.published.get(group) or math.nan),
                    "missing": "; ".join(absent),
                }
            )
    return pd.DataFrame(records)


def permutation(models: Iterable[Similar]) -> tuple[float, float]:
    """The mean similarity of the important components minus that of the others, and its two-sided p-value.

    The means are over several models. The similarities are permuted among the components of each model,
    SAMPLES times; p is the share of permutations, the observed order included, with at least as large a
    difference. The groups may overlap.
    """
    models = list(models)
    if not models:
        return math.nan, math.nan
    generator = np.random.default_rng(SEED)
    observed, drawn = 0.0, np.zeros(SAMPLES)
    for each in models:
        values = each.pwcca.to_numpy(float)
        places = [each.pwcca.index.get_indexer(each.groups[group]) for group in GROUPS]
        shuffled = generator.permuted(np.tile(values, (SAMPLES, 1)), axis=1)
        observed += (values[places[0]].mean() - values[places[1]].mean()) / len(models)
        drawn += (shuffled[:, places[0]].mean(1) - shuffled[:, places[1]].mean(1)) / len(models)
    as_large = (
        np.abs(drawn) >= abs(observed) - 1e-12
    )  # the same components in another order differ by rounding
    return float(observed), float((1 + as_large.sum()) / (1 + SAMPLES))
