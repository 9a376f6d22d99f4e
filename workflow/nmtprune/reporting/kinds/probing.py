"""Probing accuracies: a row a task with the average of each category, a column a model, ours beside published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nmtprune.data.probing import CATEGORIES
from nmtprune.papers import Item, Row
from nmtprune.reporting.made import Made, Table
from nmtprune.reporting.measured import Measured
from nmtprune.reporting.tables import columns_of

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
WHERE = {
    "gold": "gold labels of the task's grammar",
    "corpus": "made from the task's training text",
    "senteval": "files of SentEval",
}

SEEN = (
    "The translation model saw the sentences of the training text in training, of BShift the unaltered ones alone, so that memory may "
    "tell them."
)


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


def make(item: Item, measured: Measured) -> Made:
    numbers = accuracies(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=about(item, numbers))


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


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as printed. An empty cell, and an average that is not over all probes of its category, has its footnote."""
    published = any(row.published for row in item.rows)
    columns = [(item.headings.get("group", ""), "name"), (item.headings.get("label", ""), "name")]
    for row in item.rows:
        columns += [(row.label, "ours"), *([(f"{row.label}, published", "published")] if published else [])]
    footnotes: dict[str, str] = {}
    cells, ruled = [], set()
    lines = numbers.groupby(["category", "probe"], sort=False) if len(numbers) else ()
    for (category, probe), line in lines:
        if not any(each[0] == category for each in cells):
            ruled.add(len(cells))
        cells.append([category, probe + _partial(category, probe, line, footnotes)])
        for record in line.to_dict("records"):
            cells[-1].append(_ours(record, footnotes))
            cells[-1] += [_number(record["accuracy_published"])] if published else []
    notes = [f"{mark} {reason}." for reason, mark in footnotes.items()]
    return Table([heading for heading, _ in columns], [kind for _, kind in columns], cells, notes, frozenset(ruled - {0}))


def _partial(category: str, probe: str, line: pd.DataFrame, footnotes: dict[str, str]) -> str:
    """The mark of an average that is over a part of its category."""
    averaged = line["averaged"].iloc[0].split() if probe == AVERAGE else []
    if not averaged or len(averaged) == list(CATEGORIES.values()).count(category):
        return ""
    return _mark(f"Average over {', '.join(averaged)}; the published one is over all of its category", footnotes)


def _mark(reason: str, footnotes: dict[str, str]) -> str:
    mark = footnotes.setdefault(reason, f"({chr(ord('a') + len(footnotes))})")
    return f" {mark}"


def _ours(record: dict, footnotes: dict[str, str]) -> str:
    spread = record["half_width"] if math.isnan(record["accuracy_sd"]) else record["accuracy_sd"]
    cell = "–" if math.isnan(record["accuracy"]) else f"{_number(record['accuracy'])} ± {_number(spread)}"
    return cell + (_mark(record["missing"], footnotes) if record["missing"] else "")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def about(item: Item, numbers: pd.DataFrame) -> list[str]:
    """What a reader must know of the accuracies: examples, intervals, chance."""
    probed = numbers[numbers["probe"] != AVERAGE].dropna(subset="accuracy") if len(numbers) else numbers
    if not len(probed):
        return []
    sources = [f"{WHERE[source]}: {', '.join(dict.fromkeys(each['probe']))}" for source, each in probed.groupby("source", sort=False)]
    sizes = sorted({int(size) for size in probed["test"]})
    tested = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    over = "a single seed's ± is" if len(item.rows[0].chains) > 1 else "± is"
    chance = probed.drop_duplicates("probe")
    return [
        f"Examples: {'; '.join(sources)}.",
        *([SEEN] if "corpus" in set(probed["source"]) else []),
        f"Of {tested} test sentences; {over} half the width of Wilson's 95 % interval, of averages from those of their tasks.",
        f"Chance: {', '.join(f'{name} {value:.1f}' for name, value in zip(chance['probe'], chance['chance'], strict=True))}.",
    ]
