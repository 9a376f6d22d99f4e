"""Accuracies of probes, and their change against a baseline (Wang et al. 2020, table 7 and figure 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nmtprune.experiment.papers import Item, Row
from nmtprune.experiment.senteval import CATEGORIES
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import Measured

AVERAGE = "Avg."
# as Wang et al. (2020, table 7) spell them
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
    """Accuracies in percent of one probe or average, one a seed, and half the width of the first one's 95 % interval."""

    values: tuple[float, ...]
    half_width: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values)) if self.values else math.nan

    @property
    def deviation(self) -> float:
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else math.nan


def analyses(row: Row, measured: Measured) -> list[pd.DataFrame | None]:
    """The analyses of a row's models, one a seed, by probe; None where one is not there."""
    found = [measured.analysis(chain, "probing") for chain in row.chains]
    return [None if each is None else each.set_index("name") for each in found]


def common(item: Item, measured: Measured) -> dict[str, list[str]]:
    """The probes of each category that every model which was probed has: what averages are over."""
    there = [each for row in item.rows for each in analyses(row, measured) if each is not None]
    having = [name for name in CATEGORIES if there and all(_has(each, name) for each in there)]
    return {category: [name for name in having if CATEGORIES[name] == category] for category in dict.fromkeys(CATEGORIES.values())}


def _has(analysis: pd.DataFrame, name: str) -> bool:
    return name in analysis.index and not math.isnan(analysis.at[name, "accuracy"])


def accuracy(row: Row, probes: Sequence[str], measured: Measured) -> Accuracy:
    """The mean accuracy of some probes that a row's models have; errors of different probes are independent."""
    there = [each.loc[list(probes)] for each in analyses(row, measured) if each is not None] if probes else []
    half = (there[0]["high"] - there[0]["low"]) / 2 if there else pd.Series([math.nan])
    return Accuracy(tuple(float(each["accuracy"].mean()) for each in there), math.sqrt((half**2).sum(skipna=False)) / len(half))


def accuracies(item: Item, measured: Measured) -> pd.DataFrame:
    """A row for each probe, or average of a category, and model.

    `accuracy` is the mean over seeds, `accuracy_sd` their standard deviation, `half_width` half the width of the first seed's
    95 % interval; `averaged` names what an average is over, `missing` says why there is no number.
    """
    averaged = common(item, measured)
    records = []
    for category, probes in averaged.items():
        for name in [*(name for name in CATEGORIES if CATEGORIES[name] == category), AVERAGE]:
            records += [_record(category, name, probes, row, measured) for row in item.rows]
    return pd.DataFrame(records)


def _record(category: str, name: str, averaged: list[str], row: Row, measured: Measured) -> dict:
    there = [each for each in analyses(row, measured) if each is not None]
    absent = [reason for chain in row.chains if (reason := measured.missing(chain, {"probing"}))]
    record = {"category": category, "probe": name, "label": row.label, **columns_of(row.first)}
    if name == AVERAGE:
        found = accuracy(row, averaged, measured)
        record["averaged"] = " ".join(averaged)
        absent += [] if averaged or absent else ["no probe of the category is there for every model"]
    else:
        having = bool(there) and all(_has(each, name) for each in there)
        found = accuracy(row, [name] if having else [], measured)
        facts = ("labels", "test", "chance", "source") if having else ()
        record |= {fact: there[0].at[name, fact] for fact in facts}
        absent += [] if having or not there else [str(there[0].at[name, "missing"])]
    record |= {"accuracy": found.mean, "accuracy_sd": found.deviation, "half_width": found.half_width, "seeds": len(found.values)}
    printed = row.published.get(f"{category} {PRINTED[name]}", "")
    return record | {"accuracy_published": float(printed) if printed else math.nan, "missing": "; ".join(absent)}


def changes(item: Item, measured: Measured) -> pd.DataFrame:
    """A row for each category and model with a baseline: `change` of the mean accuracy in percent of the baseline's.

    `half_width` is half the width of its 95 % interval, as if the two had different test sentences, or, with several seeds,
    their standard deviation; `values` has the change of each seed, `noise` the former of the first, `averaged` names the probes.
    """
    records = []
    for category, probes in common(item, measured).items():
        for row in item.rows:
            if row.against is not None:
                records.append(_change_record(category, probes, row, row.against, measured))
    return pd.DataFrame(records)


def _change_record(category: str, probes: list[str], row: Row, against: Row, measured: Measured) -> dict:
    absent = [reason for chain in (*against.chains, *row.chains) if (reason := measured.missing(chain, {"probing"}))]
    if not probes and not absent:
        absent = ["no probe of the category is there for every model"]
    values, half_width, noise = [], math.nan, math.nan
    if not absent:
        ours, theirs = (accuracy(each, probes, measured) for each in (row, against))
        values = [_change(mine, base) for mine, base in zip(ours.values, theirs.values, strict=True)]
        relative = math.hypot(ours.half_width / ours.values[0], theirs.half_width / theirs.values[0])
        noise = 100 * ours.values[0] / theirs.values[0] * relative
        half_width = noise if len(values) == 1 else float(np.std(values, ddof=1))
    mine, base = (each.published.get(f"{category} {PRINTED[AVERAGE]}", "") for each in (row, against))
    return {
        "category": category,
        "label": row.label,
        **columns_of(row.first),
        "averaged": " ".join(probes),
        "change": float(np.mean(values)) if values else math.nan,
        "half_width": half_width,
        "values": values,
        "noise": noise,
        "seeds": len(values),
        "change_published": _change(float(mine), float(base)) if mine and base else math.nan,
        "missing": "; ".join(dict.fromkeys(absent)),
    }


def _change(value: float, base: float) -> float:
    return 100 * (value / base - 1)
