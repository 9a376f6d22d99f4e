"""Similarity of components' output to the model's: a row the most and one the least important components, a column a model (Wang and
Tu 2020, table 1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nmtprune.chain import Chain
from nmtprune.papers import Item, Row
from nmtprune.reporting.made import Made, Table
from nmtprune.reporting.measured import Measured

GROUPS = ("Important", "Unimportant")
SAMPLES, SEED = 10_000, 12345


@dataclass(frozen=True)
class Similar:
    """One model's components: their similarities to its output, and which of them are the most and the least important ones."""

    pwcca: pd.Series
    groups: dict[str, list[str]]

    def means(self) -> dict[str, float]:
        return {group: float(self.pwcca[names].mean()) for group, names in self.groups.items()}


def make(item: Item, measured: Measured) -> Made:
    numbers = similarities(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=about(numbers))


def important(contribution: pd.DataFrame, k: int) -> list[str]:
    """The k components that contribute most; of equal ones (the contribution is clipped) those whose loss costs more BLEU."""
    ablated = contribution[contribution["component"].notna() & (contribution["component"] != "none")]
    return ablated.sort_values(["contribution", "drop"], ascending=False, kind="stable")["component"].head(k).tolist()


def unimportant(order: pd.DataFrame, k: int) -> list[str]:
    """The first k components that iterative ablation removes."""
    removed = order[(order["method"] == "iterative") & (order["number"] > 0)]
    return removed.sort_values("number")["component"].head(k).tolist()


def _similar(chain: Chain, measured: Measured) -> Similar | None:
    found = [measured.analysis(chain, name) for name in ("similarity", "contribution", "order")]
    if any(each is None for each in found):
        return None
    similarity, contribution, order = found
    k = measured.config.importance(chain.recipe)["group"]
    groups = dict(zip(GROUPS, (important(contribution, k), unimportant(order, k)), strict=True))
    return Similar(similarity.set_index("component")["pwcca"], groups)


def similarities(item: Item, measured: Measured) -> pd.DataFrame:
    """A row for each model and group: `pwcca`, the mean over the group's components and then over seeds, `pwcca_sd` over seeds.

    `components` names the group's, seed by seed where they differ, `size` says how many they are and `shared` how many of them are in
    the other group too (means over seeds). `difference` of the groups, `p` how often components drawn at random differ as much.
    """
    records = []
    for row in item.rows:
        found = [each for chain in row.chains if (each := _similar(chain, measured))]
        absent = [reason for chain in row.chains if (reason := measured.missing(chain, item.reads))]
        difference, p = permutation(found)
        for group, other in zip(GROUPS, reversed(GROUPS), strict=True):
            values = [each.means()[group] for each in found]
            named = dict.fromkeys(" ".join(each.groups[group]) for each in found)
            record = {"group": group, "label": row.label, "task": row.chains[0].task, "recipe": row.chains[0].recipe}
            record |= {"chain": "/".join(map(str, row.chains[0].steps)), "components": "; ".join(named)}
            record["size"] = _mean([len(each.groups[group]) for each in found])
            record["shared"] = _mean([len(set(each.groups[group]) & set(each.groups[other])) for each in found])
            record |= {"pwcca": _mean(values), "pwcca_sd": float(np.std(values, ddof=1)) if len(values) > 1 else math.nan}
            record |= {"difference": difference, "p": p, "seeds": len(found), "pwcca_published": _published(row, group)}
            records.append(record | {"missing": "; ".join(absent)})
    return pd.DataFrame(records)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _published(row: Row, group: str) -> float:
    return float(row.published.get(group) or math.nan)


def permutation(models: list[Similar]) -> tuple[float, float]:
    """The important components' mean similarity less the unimportant ones', over models of several seeds, and its two-sided p-value.

    The components' similarities change places at random in each model by itself, SAMPLES times; p is the share of these, the observed
    one among them, whose difference is as large. Groups may overlap.
    """
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
    as_large = np.abs(drawn) >= abs(observed) - 1e-12  # the same components in another order differ by rounding
    return float(observed), float((1 + as_large.sum()) / (1 + SAMPLES))


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as printed. An empty cell has its footnote."""
    published = any(row.published for row in item.rows)
    columns = [(item.headings.get("label", ""), "name")]
    for row in item.rows:
        columns += [(row.label, "ours"), *([(f"{row.label}, published", "published")] if published else [])]
    footnotes: dict[str, str] = {}
    cells = []
    for group in GROUPS if len(numbers) else ():
        cells.append([group])
        for record in numbers[numbers["group"] == group].to_dict("records"):
            cells[-1].append(_ours(record, footnotes))
            cells[-1] += [_number(record["pwcca_published"])] if published else []
    notes = [f"{mark} {reason}." for reason, mark in footnotes.items()]
    return Table([heading for heading, _ in columns], [kind for _, kind in columns], cells, notes)


def _ours(record: dict, footnotes: dict[str, str]) -> str:
    cell = _number(record["pwcca"]) or "–"
    cell += "" if math.isnan(record["pwcca_sd"]) else f" ± {_number(record['pwcca_sd'])}"
    if not record["missing"]:
        return cell
    mark = footnotes.setdefault(record["missing"], f"({chr(ord('a') + len(footnotes))})")
    return f"{cell} {mark}"


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def about(numbers: pd.DataFrame) -> list[str]:
    """Which components the groups are, and whether they differ by more than chance."""
    sentences = []
    lines = numbers.dropna(subset="pwcca").groupby(["label", "task", "recipe"], sort=False) if len(numbers) else ()
    for (label, *_), line in lines:
        first = line.iloc[0]
        named = "; ".join(f"{record['group'].lower()} {record['components']}" for record in line.to_dict("records"))
        shared = f", {first['shared']:g} of them in both groups" if first["shared"] else ""
        p = "p < 0.001" if first["p"] < 0.001 else f"p = {first['p']:.3f}"
        sentences.append(f"{label}: {named}{shared}; difference {first['difference']:+.2f}, {p}.".replace("+-", "-"))
    if sentences:
        sentences.append(f"p: how often components drawn at random differ as much, two-sided ({SAMPLES:,} permutations).")
    return sentences
