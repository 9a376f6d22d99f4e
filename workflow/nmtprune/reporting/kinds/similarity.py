"""Similarity of the outputs of the most and the least important components to the model's output.

Wang and Tu 2020, table 1: one row for each of the two groups, one column for each model.
"""

from __future__ import annotations

import math

import pandas as pd

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.similarity import GROUPS, SAMPLES, similarities
from nmtprune.reporting.rendition import Footnotes, Made, Table
from nmtprune.scoring.significance import p_as_text


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its table."""
    numbers = similarities(item, measured)
    printed = table(item, numbers)
    return Made(numbers, printed.footnotes, table=printed, sentences=about(numbers))


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """The frame as it is printed. Every empty cell has a footnote."""
    published = any(row.published for row in item.rows)
    columns = [(item.headings.get("label", ""), "name")]
    for row in item.rows:
        columns += [(row.label, "ours"), *([(f"{row.label}, published", "published")] if published else [])]
    footnotes = Footnotes()
    cells = []
    for group in GROUPS if len(numbers) else ():
        cells.append([group])
        for record in numbers[numbers["group"] == group].to_dict("records"):
            cells[-1].append(_ours(record, footnotes))
            cells[-1] += [_number(record["pwcca_published"])] if published else []
    notes = footnotes.sentences
    return Table([heading for heading, _ in columns], [kind for _, kind in columns], cells, notes)


def _ours(record: dict, footnotes: Footnotes) -> str:
    cell = _number(record["pwcca"]) or "–"
    cell += "" if math.isnan(record["pwcca_sd"]) else f" ± {_number(record['pwcca_sd'])}"
    return cell + footnotes.mark(record["missing"])


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def about(numbers: pd.DataFrame) -> list[str]:
    """Sentences with the components of both groups, and on whether the groups differ by more than chance."""
    sentences = []
    lines = (
        numbers.dropna(subset="pwcca").groupby(["label", "task", "recipe"], sort=False)
        if len(numbers)
        else ()
    )
    for (label, *_), line in lines:
        first = line.iloc[0]
        named = "; ".join(
            f"{record['group'].lower()} {record['components']}" for record in line.to_dict("records")
        )
        shared = f", {first['shared']:g} of them in both groups" if first["shared"] else ""
        difference = f"{first['difference']:+.2f}".replace("+-", "-")
        sentences.append(f"{label}: {named}{shared}; difference {difference}, {p_as_text(first['p'])}.")
    if sentences:
        sentences.append(
            f"p: how often components drawn at random differ as much, two-sided ({SAMPLES:,} permutations)."
        )
    return sentences
