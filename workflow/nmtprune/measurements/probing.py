"""Accuracies of probing classifiers, and their changes against a baseline.

They are shown in table 7 and figure 3 of Wang et al. (2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from nmtprune.experiment.papers import Item, Row
from nmtprune.experiment.senteval import CATEGORIES
from nmtprune.measurements import seeds
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured

AVERAGE = "Avg."
# the probes' names in table 7 of Wang et al. 2020
PRINTED = {
    "SentLen": "SeLen",
    "WC": "WC",
    "TreeDepth": "TeDep",
    "TopConst": "ToCo",
    "BShift": "BShif",
    "Tense": "Tense",
    "SubjNum": "SubN",
    "ObjNum": "ObjN",
    "SOMO": "SoMo",
    "CoordInv": "CoIn",
    AVERAGE: "Avg.",
}


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in percent on one probe, or on average over several, by seed.

    `half_width`: half the width of the first seed's 95 % interval.
    """

    values: tuple[float, ...]
    half_width: float

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN without seeds."""
        return seeds.mean(self.values)

    @property
    def deviation(self) -> float:
        """The standard deviation over seeds; NaN for fewer than two."""
        return seeds.deviation(self.values)


def analyses(row: Row, measured: Measured) -> list[pd.DataFrame | None]:
    """The analyses of a row's models, one per seed, indexed by probe; None for models without an analysis."""
    of_seeds = [measured.analysis(chain, "probing") for chain in row.chains]
    return [None if each is None else each.set_index("name") for each in of_seeds]


def common(item: Item, measured: Measured) -> dict[str, list[str]]:
    """The probes of each category that averages are taken over: those with an accuracy for every model."""
    probed = [each for row in item.rows for each in analyses(row, measured) if each is not None]
    shared = [name for name in CATEGORIES if probed and all(_has(each, name) for each in probed)]
    return {
        category: [name for name in shared if CATEGORIES[name] == category]
        for category in dict.fromkeys(CATEGORIES.values())
    }


def _has(analysis: pd.DataFrame, name: str) -> bool:
    return name in analysis.index and not math.isnan(analysis.at[name, "accuracy"])


def accuracy(row: Row, probes: Sequence[str], measured: Measured) -> Accuracy:
    """The mean accuracy of a row's models on some probes; errors of different probes count as independent."""
    probed = (
        [each.loc[list(probes)] for each in analyses(row, measured) if each is not None] if probes else []
    )
    half = (probed[0]["high"] - probed[0]["low"]) / 2 if probed else pd.Series([math.nan])
    return Accuracy(
        tuple(float(each["accuracy"].mean()) for each in probed),
        math.sqrt((half**2).sum(skipna=False)) / len(half),
    )


def accuracies(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with a row for each model and probe, and for each model and average over a category.

    `accuracy` is the mean over seeds, `accuracy_sd` the standard deviation over seeds, `half_width` half the
    width of the first seed's 95 % interval; `averaged` names the probes of an average, `missing` says why
    there is no number.
    """
    averaged = common(item, measured)
    records = []
    for category, probes in averaged.items():
        for name in [*(name for name in CATEGORIES if CATEGORIES[name] == category), AVERAGE]:
            records += [_record(category, name, probes, row, measured) for row in item.rows]
    return pd.DataFrame(records)


def _record(category: str, name: str, averaged: list[str], row: Row, measured: Measured) -> dict:
    probed = [each for each in analyses(row, measured) if each is not None]
    absent = measured.reasons_of(row.chains, {"probing"})
    record = {"category": category, "probe": name, "label": row.label, **columns_of(row.first)}
    if name == AVERAGE:
        mean = accuracy(row, averaged, measured)
        record["averaged"] = " ".join(averaged)
        absent += [] if averaged or absent else ["no probe of the category is there for every model"]
    else:
        has_all = bool(probed) and all(_has(each, name) for each in probed)
        mean = accuracy(row, [name] if has_all else [], measured)
        facts = ("labels", "test", "chance", "source") if has_all else ()
        record |= {fact: probed[0].at[name, fact] for fact in facts}
        absent += [] if has_all or not probed else [str(probed[0].at[name, "missing"])]
    record |= {
        "accuracy": mean.mean,
        "accuracy_sd": mean.deviation,
        "half_width": mean.half_width,
        "seeds": len(mean.values),
    }
    printed = row.published.get(f"{category} {PRINTED[name]}", "")
    return record | {
        "accuracy_published": float(printed) if printed else math.nan,
        "missing": "; ".join(absent),
    }


def changes(item: Item, measured: Measured) -> pd.DataFrame:
    """A frame with a row for each category and model that has a baseline.

    `change`: the change of the mean accuracy, in percent of the baseline's. `values`: the change of each
    seed. `noise`: half the width of the first seed's 95 % interval, as if the two models were tested on
    different sentences. `half_width`: `noise` for one seed, the standard deviation for several. `averaged`:
    the probes.
    """
    records = []
    for category, probes in common(item, measured).items():
        for row in item.rows:
            if row.against is not None:
                records.append(_change_record(category, probes, row, row.against, measured))
    return pd.DataFrame(records)


def _change_record(category: str, probes: list[str], row: Row, against: Row, measured: Measured) -> dict:
    absent = measured.reasons_of((*against.chains, *row.chains), {"probing"})
    if not probes and not absent:
        absent = ["no probe of the category is there for every model"]
    values, half_width, noise = [], math.nan, math.nan
    if not absent:
        ours, theirs = (accuracy(each, probes, measured) for each in (row, against))
        values = [_change(mine, base) for mine, base in zip(ours.values, theirs.values, strict=True)]
        relative = math.hypot(ours.half_width / ours.values[0], theirs.half_width / theirs.values[0])
        noise = 100 * ours.values[0] / theirs.values[0] * relative
        half_width = noise if len(values) == 1 else seeds.deviation(values)
    mine, base = (each.published.get(f"{category} {PRINTED[AVERAGE]}", "") for each in (row, against))
    return {
        "category": category,
        "label": row.label,
        **columns_of(row.first),
        "averaged": " ".join(probes),
        "change": seeds.mean(values),
        "half_width": half_width,
        "values": values,
        "noise": noise,
        "seeds": len(values),
        "change_published": _change(float(mine), float(base)) if mine and base else math.nan,
        "missing": "; ".join(dict.fromkeys(absent)),
    }


def _change(value: float, base: float) -> float:
    return 100 * (value / base - 1)
