"""Probing accuracies: one row for each probe, with category averages, and one column for each model.

Our values are beside published ones.
"""

from __future__ import annotations

import math

import pandas as pd

from nmtprune.experiment.papers import Item
from nmtprune.experiment.senteval import CATEGORIES
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.probing import AVERAGE, accuracies
from nmtprune.reporting.rendition import Footnotes, Made, Table

WHERE = {
    "gold": "gold labels of the task's grammar",
    "corpus": "made from the task's training text",
    "senteval": "files of SentEval",
}

SEEN = (
    "The translation model was trained on these sentences of the training text (BShift: on the unaltered "
    "ones only), so that memory may "
    "help to tell them apart."
)


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its table."""
    numbers = accuracies(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=about(item, numbers))


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as it is printed.

    An empty cell has a footnote, and so has an average over a part of its category.
    """
    published = any(row.published for row in item.rows)
    columns = [(item.headings.get("group", ""), "name"), (item.headings.get("label", ""), "name")]
    for row in item.rows:
        columns += [(row.label, "ours"), *([(f"{row.label}, published", "published")] if published else [])]
    footnotes = Footnotes()
    cells, ruled = [], set()
    lines = numbers.groupby(["category", "probe"], sort=False) if len(numbers) else ()
    for (category, probe), line in lines:
        if not any(each[0] == category for each in cells):
            ruled.add(len(cells))
        cells.append([category, probe + _partial(category, probe, line, footnotes)])
        for record in line.to_dict("records"):
            cells[-1].append(_ours(record, footnotes))
            cells[-1] += [_number(record["accuracy_published"])] if published else []
    notes = footnotes.sentences
    return Table(
        [heading for heading, _ in columns],
        [kind for _, kind in columns],
        cells,
        notes,
        frozenset(ruled - {0}),
    )


def _partial(category: str, probe: str, line: pd.DataFrame, footnotes: Footnotes) -> str:
    """The mark of an average over a part of its category; empty for other rows."""
    averaged = line["averaged"].iloc[0].split() if probe == AVERAGE else []
    if not averaged or len(averaged) == list(CATEGORIES.values()).count(category):
        return ""
    part = f"Average over {', '.join(averaged)}; the published one is over all of its category"
    return footnotes.mark(part)


def _ours(record: dict, footnotes: Footnotes) -> str:
    spread = record["half_width"] if math.isnan(record["accuracy_sd"]) else record["accuracy_sd"]
    cell = "–" if math.isnan(record["accuracy"]) else f"{_number(record['accuracy'])} ± {_number(spread)}"
    return cell + footnotes.mark(record["missing"])


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def about(item: Item, numbers: pd.DataFrame) -> list[str]:
    """Sentences on what a reader must know about the accuracies: examples, intervals, chance."""
    probed = numbers[numbers["probe"] != AVERAGE].dropna(subset="accuracy") if len(numbers) else numbers
    if not len(probed):
        return []
    sources = [
        f"{WHERE[source]}: {', '.join(dict.fromkeys(each['probe']))}"
        for source, each in probed.groupby("source", sort=False)
    ]
    sizes = sorted({int(size) for size in probed["test"]})
    tested = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    over = "a single seed's ± is" if len(item.rows[0].chains) > 1 else "± is"
    chance = probed.drop_duplicates("probe")
    by_chance = [f"{name} {value:.1f}" for name, value in zip(chance["probe"], chance["chance"], strict=True)]
    return [
        f"Examples: {'; '.join(sources)}.",
        *([SEEN] if "corpus" in set(probed["source"]) else []),
        f"Accuracies are on {tested} test sentences; {over} half the width of Wilson's 95 % interval (for "
        "averages, combined over probes).",
        f"Chance: {', '.join(by_chance)}.",
    ]
