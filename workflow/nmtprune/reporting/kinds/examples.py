"""Example translations: some drawn at random, and those on which two models differ most.

Wang et al. 2020, table 5.
"""

from __future__ import annotations

import difflib
import itertools
import random
import re
from collections.abc import Mapping, Sequence

import pandas as pd
from sacrebleu.metrics.chrf import CHRF

from nmtprune.experiment.papers import Item
from nmtprune.foundation.errors import UserError
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.rendition import Made, Marked, Table

COLUMNS = ["example", "kind", "line", "model", "chain", "text", "chrf"]
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
    sources, references = (measured.text(tasks[0], side) if tasks else None for side in ("source", "target"))
    reads = item.reads | {"hypotheses"}
    footnotes = [
        f"Left out: {row.label}; {reason}."
        for row in item.rows
        if (reason := measured.missing(row.first, reads))
    ]
    if sources is None or references is None:
        footnotes += [f"The text of task {task} is not there yet." for task in tasks]
        return Made(
            pd.DataFrame(columns=COLUMNS), footnotes, table=_table(item, pd.DataFrame(columns=COLUMNS))
        )
    metric = CHRF()
    translated = [
        (row, hypotheses) for row in item.rows if (hypotheses := measured.hypotheses(row.first)) is not None
    ]
    systems = [
        (row, hypotheses, sentence_chrf(metric, hypotheses, references)) for row, hypotheses in translated
    ]
    gains = None
    if len(systems) > 1 and systems[0][0] is item.rows[0] and systems[-1][0] is item.rows[-1]:
        gains = [last - first for first, last in zip(systems[0][2], systems[-1][2], strict=True)]
    records = []
    for number, (kind, line) in enumerate(chosen(item.examples, len(references), gains), 1):
        of = {"example": number, "kind": kind, "line": line + 1}
        records.append({**of, "model": "Input", "text": sources[line]})
        records.append({**of, "model": "Reference", "text": references[line]})
        for row, hypotheses, chrf in systems:
            steps = row.first.steps_text
            records.append(
                {**of, "model": row.name, "chain": steps, "text": hypotheses[line], "chrf": chrf[line]}
            )
    numbers = pd.DataFrame(records, columns=COLUMNS)
    sentences = _sentences(item, gains, len(references))
    return Made(numbers, footnotes, table=_table(item, numbers), sentences=sentences)


def sentence_chrf(metric: CHRF, hypotheses: list[str], references: list[str]) -> list[float]:
    """The chrF of each sentence against its reference, from 0 to 100."""
    return [
        metric.sentence_score(ours, [reference]).score
        for ours, reference in zip(hypotheses, references, strict=True)
    ]


def chosen(wanted: Mapping[str, int], lines: int, gains: Sequence[float] | None) -> list[tuple[str, int]]:
    """The kind and line of each example: `random` ones in the order of the text, then `gain`, then `loss`.

    Gains and losses are sorted, the largest first. Random examples depend only on the seed and the
    number of lines. `gains`: one for each line; without them there are only random examples.
    """
    drawn = random.Random(wanted["seed"]).sample(range(lines), min(wanted["random"], lines))
    examples = [("random", line) for line in sorted(drawn)]
    if gains is not None:
        order = sorted(range(lines), key=lambda line: abs(gains[line]), reverse=True)
        examples += [("gain", line) for line in order if gains[line] > 0][: wanted["largest"]]
        examples += [("loss", line) for line in order if gains[line] < 0][: wanted["largest"]]
    return examples


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
