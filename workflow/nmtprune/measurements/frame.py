"""The rows of a table or figure as a data frame of raw numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.metrics import METRICS, SPEED
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.measurements import intervals, seeds
from nmtprune.measurements.measurements import Measured, Way
from nmtprune.scoring.significance import Comparison, paired_bootstrap, sign_test, substitution_gains

WIDTHS = {"ffn": ("ffn",), "attention": ("self", "cross")}  # what a block of widths shows -> parts of a layer
WIDTH_COLUMN = re.compile(r"(ffn|self|cross)_(encoder|decoder)_(\d+)")  # a column with the widths of a layer


def columns_of(chain: Chain) -> dict[str, str]:
    """The columns that name a model in a frame; without its seed, since a row may stand for several seeds."""
    return {"task": chain.task, "recipe": chain.recipe, "chain": chain.steps_text}


def of_models(
    item: Item,
    measured: Measured,
    source: str,
    read: Callable[[Chain], list[dict[str, Any]] | None],
    columns: Sequence[str],
) -> pd.DataFrame:
    """A frame of all models of an item, one seed after the other, with columns that name the model.

    `read(chain)`: the rows of a model. Where it is None, the model has one row that says in `missing` why its
    `source` is missing (see `Measured.reason`). `columns` come first, then what else the rows have.
    """
    records = []
    for number, row in enumerate(item.rows, 1):
        for chain in row.chains:
            about = {"row": number, "group": row.group, "label": row.label, "seed": chain.seed, "missing": ""}
            rows = read(chain)
            if rows is None:
                rows = [{"missing": measured.reason(chain, source)}]
            records += [{**about, **columns_of(chain), **each} for each in rows]
    numbers = pd.DataFrame(records)
    more = [name for name in numbers if name not in (*columns, "group")]
    return numbers.reindex(columns=[*columns, *more])


def frame(item: Item, measured: Measured) -> pd.DataFrame:
    """Raw numbers of all rows at full precision; published values in columns of their own, after ours.

    `<metric>` is the mean over seeds, `<metric>_sd` the standard deviation, and `<metric>_low` and
    `<metric>_high` are the 95 % interval over sentences and seeds, if the metric has statistics of sentences;
    `<metric>_p` is the p-value of the difference from the baseline. `seeds` counts the seeds that have been
    scored, `missing` says why others have not, and `same_as` is the number of an earlier row with the same
    runs.
    """
    variables = list(dict.fromkeys(variable for row in item.rows for variable in row.values))
    first: dict[tuple, int] = {}
    way = measured.way(item) if SPEED in item.reads else None
    bleu = next((column for column in item.columns if column.key == "bleu"), None)
    records = []
    for number, row in enumerate(item.rows, 1):
        record = {"row": number, "group": row.group, "label": row.label}
        record |= {variable: row.values.get(variable) for variable in variables}
        record |= columns_of(row.first)
        same = first.setdefault(row.chains, number)
        record["same_as"] = same if same != number else None
        for column in item.columns:
            values = _values(row, column, measured, way)
            record[column.key] = seeds.mean(values)
            if len(row.chains) > 1 and METRICS[column.metric].varies:
                record[f"{column.key}_sd"] = seeds.deviation(values)
            record |= _interval(row, column, measured)
            if ITEM_KINDS[item.kind].tests_bleu and is_compared(column):
                record |= _comparison(row, column, measured)
        if ITEM_KINDS[item.kind].tests_bleu and bleu:
            record |= _significance(row, measured, bleu.test_set)
        if item.widths:
            record |= _widths(row, item.widths, measured)
        absent = measured.reasons_of(row.chains, item.reads - {SPEED})
        record["kept_parent"] = sum(map(measured.is_its_parent, row.chains))
        record["seeds"] = len(row.chains) - len(absent)
        record["missing"] = "; ".join(absent)
        records.append(record)
    names = [
        "row",
        "group",
        "label",
        "task",
        "recipe",
        "chain",
        "same_as",
        *(column.key for column in item.columns),
    ]
    ours = pd.DataFrame(records, columns=None if records else names)
    ours[["same_as", *variables]] = ours[["same_as", *variables]].convert_dtypes()
    published: dict[str, list[Any]] = {
        f"{column.key}_published": [published_value(row, column) for row in item.rows]
        for column in item.columns
        if column.published
    }
    if any("significance" in row.published for row in item.rows):
        published["significance_published"] = [row.published.get("significance", "") for row in item.rows]
    for name in filter(WIDTH_COLUMN.fullmatch, ours.columns):
        if any(row.published.get(name) for row in item.rows):
            published[f"{name}_published"] = [float(row.published.get(name) or math.nan) for row in item.rows]
    return ours.assign(**published)


def _values(row: Row, column: Column, measured: Measured, way: Way | None) -> list[float]:
    """One value for each seed that has one."""

    def value(chain: Chain, metric: str) -> float | None:
        return measured.value(chain, metric, column.test_set, way)

    if column.metric == "speed_up":
        against = row if row.baseline else row.against
        pairs = zip(row.chains, against.chains if against else (), strict=False)
        return [
            ratio for ours, theirs in pairs if (ratio := measured.speed_up(ours, theirs, way)) is not None
        ]
    if against := METRICS[column.metric].against:
        pairs = zip(row.chains, row.against.chains if row.against else (), strict=False)
        both = [(value(ours, against.metric), value(theirs, against.metric)) for ours, theirs in pairs]
        return [
            against.compare(ours, theirs) for ours, theirs in both if ours is not None and theirs is not None
        ]
    return [number for chain in row.chains if (number := value(chain, column.metric)) is not None]


def _interval(row: Row, column: Column, measured: Measured) -> dict[str, float]:
    """The 95 % interval of a column, NaN if unknown; nothing if the metric has no statistics of sentences."""
    metric = METRICS[column.metric]
    low, high = f"{column.key}_low", f"{column.key}_high"
    if metric.against and METRICS[metric.against.metric].by_sentence:
        compared = _against(row, metric.against.metric, column, measured)
        return {low: compared.low, high: compared.high} if compared else {low: math.nan, high: math.nan}
    if not metric.by_sentence:
        return {}
    known = intervals.interval(measured, row.chains, column.metric, column.test_set)
    return dict(zip((low, high), known or (math.nan, math.nan), strict=True))


def is_compared(column: Column) -> bool:
    """Whether a column other than BLEU is tested against the baseline: a measure of translations."""
    metric = METRICS[column.metric]
    return metric.translations and bool(metric.better) and column.metric != "bleu"


def _comparison(row: Row, column: Column, measured: Measured) -> dict[str, float]:
    """Significance of the difference from the baseline by paired bootstrap; NaN if unknown."""
    compared = _against(row, column.metric, column, measured)
    numbers = (compared.low, compared.high, compared.p) if compared else (math.nan,) * 3
    names = (f"{column.key}_delta_low", f"{column.key}_delta_high", f"{column.key}_p")
    return dict(zip(names, numbers, strict=True))


def _against(row: Row, metric: str, column: Column, measured: Measured) -> Comparison | None:
    if row.against is None:
        return None
    return intervals.comparison(measured, row.chains, row.against.chains, metric, column.test_set)


def _widths(row: Row, shown: tuple[str, ...], measured: Measured) -> dict[str, float]:
    """Mean widths of a row's layers over seeds, by name."""
    parts = {part for each in shown for part in WIDTHS[each]}
    of_seeds = pd.DataFrame([widths for chain in row.chains if (widths := measured.widths(chain))])
    return {name: float(mean) for name, mean in of_seeds.mean().items() if name.partition("_")[0] in parts}


def published_value(row: Row, column: Column) -> float:
    """The published value of a column in its unit here; NaN if the paper has none."""
    text = row.published.get(column.published or "", "")
    return float(text) * column.scale if text else math.nan


def _significance(row: Row, measured: Measured, test_set: int | str) -> dict[str, float]:
    """Significance of the difference in BLEU from the baseline, by paired bootstrap and sign test.

    `delta_low` and `delta_high` are the 95 % interval, `p_bootstrap` its p-value. `better` and `worse` count
    the sentences whose translation raises or lowers the baseline's BLEU; `p_sign` is the p-value of the sign
    test on these numbers. All are NaN without a baseline or without sentence statistics.
    """
    names = ("delta_low", "delta_high", "p_bootstrap", "better", "worse", "p_sign")
    if row.against is None:
        return dict.fromkeys(names, math.nan)
    chains = (*row.chains, *row.against.chains)
    there = [each for chain in chains if (each := measured.statistics(chain, test_set)) is not None]
    if len(there) < len(chains):
        return dict.fromkeys(names, math.nan)
    ours, theirs = np.concatenate(there[: len(row.chains)]), np.concatenate(there[len(row.chains) :])
    compared = paired_bootstrap(theirs, ours)
    # a sentence counts once, however many seeds translate it
    gains = np.mean([substitution_gains(theirs[[i]], ours[[i]]) for i in range(len(ours))], axis=0)
    signs = sign_test(gains)
    return dict(
        zip(names, (compared.low, compared.high, compared.p, signs.better, signs.worse, signs.p), strict=True)
    )


def reasons(item: Item, measured: Measured) -> dict[tuple[int, str], str]:
    """Reasons, by number of row and column, why single numbers are missing although their rows are scored."""
    way = measured.way(item) if SPEED in item.reads else None
    of_cells = {}
    for number, row in enumerate(item.rows, 1):
        for column in item.columns:
            against = METRICS[column.metric].against
            of = against.metric if against else column.metric
            read = [*row.chains[:1], *(row.against.chains[:1] if row.against and against else ())]
            lacking = (chain for chain in read if measured.value(chain, of, column.test_set, way) is None)
            if reason := next(
                filter(None, (measured.lacks(chain, of, column.test_set, way) for chain in lacking)), None
            ):
                of_cells[number, column.key] = reason
    return of_cells
