"""Example translations: some drawn at random, and those on which two models differ most.

Wang et al. 2020, table 5.
"""

from __future__ import annotations

import difflib
import itertools
import re

import pandas as pd

from nmtprune.experiment.papers import Item
from nmtprune.foundation.errors import UserError
from nmtprune.measurements.examples import COLUMNS, Examples, examples
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.rendition import Made, Marked, Table

# A word ends at white space; in scripts that write none (Han, kana) every character is one.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def make(item: Item, measured: Measured) -> Made:
    """Sentences of the main test set with the translations of each row's model of the first seed.

    Raises UserError if tasks differ.
    """
    tasks = list(dict.fromkeys(row.first.task for row in item.rows))
    if len(tasks) > 1:
        raise UserError(
            f"{item.key}: example translations are of one task, and its rows stand for {', '.join(tasks)}"
        )
    reads = item.reads | {"hypotheses"}
    left_out: dict[str, list[str]] = {}  # labels by the reason
    for row in item.rows:
        if reason := measured.missing(row.first, reads):
            left_out.setdefault(reason, []).append(row.label)
    footnotes = [f"Left out: {', '.join(labels)}; {reason}." for reason, labels in left_out.items()]
    shown = examples(item, tasks[0], measured) if tasks else Examples(pd.DataFrame(columns=COLUMNS))
    if shown.lines is None:
        footnotes += [f"The text of task {task} is not there yet." for task in tasks]
    sentences = [] if shown.lines is None else _sentences(item, shown.gains, shown.lines)
    return Made(shown.numbers, footnotes, table=_table(item, shown.numbers), sentences=sentences)


def marked(text: str, reference: str) -> Marked:
    """A translation with marks on the words outside its alignment with the reference.

    The alignment consists of the longest matching blocks.
    """
    words = list(WORD.finditer(text))
    matcher = difflib.SequenceMatcher(
        None, WORD.findall(reference), [word.group() for word in words], autojunk=False
    )
    aligned = {
        place for block in matcher.get_matching_blocks() for place in range(block.b, block.b + block.size)
    }
    segments, end = [], 0
    for differs, run in itertools.groupby(range(len(words)), key=lambda place: place not in aligned):
        places = list(run)
        segments.append((text[end : words[places[0]].start()], False))
        end = words[places[-1]].end()
        segments.append((text[words[places[0]].start() : end], differs))
    return Marked(tuple(segment for segment in (*segments, (text[end:], False)) if segment[0]))


def _sentences(item: Item, gains: list[float] | None, lines: int) -> list[str]:
    first, last, wanted = item.rows[0].name, item.rows[-1].name, item.examples
    said = [
        "chrF is computed on each sentence alone.",
        f"Random: {min(wanted['random'], lines)} of {lines:,} sentences, drawn with seed {wanted['seed']}.",
    ]
    if gains is not None:
        better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
        said.append(
            f"Gain and loss: the sentences on which the chrF of {last} is furthest above and below that of "
            f"{first}; over all, it is "
            f"higher on {better:,}, lower on {worse:,} and the same on {lines - better - worse:,}."
        )
    said.append(
        "Marked (in print bold): words of a translation that are not in its alignment with the reference."
    )
    return said


def _table(item: Item, numbers: pd.DataFrame) -> Table:
    """Input, reference and translations below each other, with a rule above every sentence."""
    cells: list[list[str | Marked]] = []
    ruled = set()
    for (number, kind), example in numbers.groupby(["example", "kind"], sort=False):
        reference = example["text"].iloc[1]
        for place, record in enumerate(example.to_dict("records")):
            translation = not pd.isna(record["chrf"])
            text = marked(record["text"], reference) if translation else record["text"]
            if place == 0:
                ruled.add(len(cells))
            cells.append(
                [
                    f"{number} {kind}" if place == 0 else "",
                    record["model"],
                    text if record["text"].strip() else "(empty)",
                    f"{record['chrf']:.1f}" if translation else "",
                ]
            )
    headings = [
        item.headings.get("group", ""),
        item.headings.get("label", ""),
        "Text",
        item.columns[0].heading,
    ]
    return Table(headings, ["name", "name", "text", "ours"], cells, [], frozenset(ruled))
