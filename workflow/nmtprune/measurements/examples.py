"""The choice of example sentences: some drawn at random, and those on which two models differ most.

Wang et al. 2020, table 5.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from sacrebleu.metrics.chrf import CHRF

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured

COLUMNS = ["example", "kind", "line", "model", "chain", "text", "chrf"]


class Examples(NamedTuple):
    """Example sentences of an item.

    `numbers`: a row for the input, the reference and each translation of every example (chrF from 0 to 100).
    `gains`: for every line of the test set, the chrF of the last row's model minus that of the first row's;
    None unless both have translations. `lines`: the number of lines; None without the text.
    """

    numbers: pd.DataFrame
    gains: list[float] | None = None
    lines: int | None = None


def examples(item: Item, task: str, measured: Measured) -> Examples:
    """Sentences of a task's main test set with the translations of each row's model of the first seed."""
    sources, references = (measured.text(task, side) for side in ("source", "target"))
    if sources is None or references is None:
        return Examples(pd.DataFrame(columns=COLUMNS))
    translated = [measured.hypotheses(row.first) for row in item.rows]
    chrf = [None if each is None else sentence_chrf(each, references) for each in translated]
    first, last, gains = chrf[0], chrf[-1], None
    if first is not None and last is not None and len(chrf) > 1:
        gains = [after - before for before, after in zip(first, last, strict=True)]
    records = []
    for number, (kind, line) in enumerate(chosen(item.examples, len(references), gains), 1):
        of = {"example": number, "kind": kind, "line": line + 1}
        records.append({**of, "model": "Input", "text": sources[line]})
        records.append({**of, "model": "Reference", "text": references[line]})
        for row, hypotheses, scores in zip(item.rows, translated, chrf, strict=True):
            if hypotheses is not None and scores is not None:
                said = {"text": hypotheses[line], "chrf": scores[line]}
                records.append({**of, "model": row.name, "chain": row.first.steps_text, **said})
    return Examples(pd.DataFrame(records, columns=COLUMNS), gains, len(references))


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[str]) -> list[float]:
    """The chrF of each sentence against its reference, from 0 to 100."""
    metric = CHRF()
    pairs = zip(hypotheses, references, strict=True)
    return [metric.sentence_score(ours, [reference]).score for ours, reference in pairs]


def chosen(wanted: Mapping[str, int], lines: int, gains: Sequence[float] | None) -> list[tuple[str, int]]:
    """The kind and line of each example: `random` ones in the order of the text, then `gain`, then `loss`.

    Gains and losses are sorted, the largest first. Random examples depend only on the seed and the number of
    lines. `gains`: one for each line; without them there are only random examples.
    """
    drawn = random.Random(wanted["seed"]).sample(range(lines), min(wanted["random"], lines))
    examples = [("random", line) for line in sorted(drawn)]
    if gains is not None:
        order = sorted(range(lines), key=lambda line: abs(gains[line]), reverse=True)
        examples += [("gain", line) for line in order if gains[line] > 0][: wanted["largest"]]
        examples += [("loss", line) for line in order if gains[line] < 0][: wanted["largest"]]
    return examples
