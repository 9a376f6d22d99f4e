"""Tables: the rows of an item as a frame of raw numbers, and as printed in Markdown and LaTeX."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.metrics import METRICS, SPEED
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.foundation import escape
from nmtprune.measurements import intervals
from nmtprune.measurements.frame import columns_of
from nmtprune.measurements.measurements import BY_PERPLEXITY, Measured, Way
from nmtprune.reporting.rendition import Marked, Table
from nmtprune.scoring.significance import Comparison, paired_bootstrap, sign_test, substitution_gains

BETTER, WORSE = {0.05: "↑", 0.01: "⇑"}, {0.05: "↓", 0.01: "⇓"}  # paired bootstrap
SIGN_TEST = {0.05: "†", 0.01: "‡"}
WIDTHS = {"ffn": ("ffn",), "attention": ("self", "cross")}  # what a block of widths shows -> parts of a layer
PARTS = {"ffn": "FFN", "self": "self-attention", "cross": "context attention"}
_WIDTH = re.compile(r"(ffn|self|cross)_(encoder|decoder)_(\d+)")  # a column with the widths of a layer
KEPT_PARENT = "°"  # a row whose selected checkpoint is its parent's
PRINTED_MARKS = {"p<0.05": "↑", "p<0.01": "⇑"}


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
            record[column.key] = float(np.mean(values)) if values else math.nan
            if len(row.chains) > 1 and METRICS[column.metric].varies:
                record[f"{column.key}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
            record |= _interval(row, column, measured)
            if ITEM_KINDS[item.kind].tests_bleu and _is_compared(column):
                record |= _comparison(row, column, measured)
        if ITEM_KINDS[item.kind].tests_bleu and bleu:
            record |= _significance(row, measured, bleu.test_set)
        if item.widths:
            record |= _widths(row, item.widths, measured)
        absent = [reason for chain in row.chains if (reason := measured.missing(chain, item.reads - {SPEED}))]
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
        f"{c.key}_published": [_published(row, c) for row in item.rows] for c in item.columns if c.published
    }
    if any("significance" in row.published for row in item.rows):
        published["significance_published"] = [row.published.get("significance", "") for row in item.rows]
    for name in filter(_WIDTH.fullmatch, ours.columns):
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


def _is_compared(column: Column) -> bool:
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


def _published(row: Row, column: Column) -> float:
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


def table(item: Item, numbers: pd.DataFrame, known: Mapping[tuple[int, str], str] | None = None) -> Table:
    """A frame as it is printed: our values beside published ones, marks, and footnotes.

    Footnotes explain empty cells and name rows of the same run. `known`: reasons for single empty cells (see
    `reasons`).
    """
    grouped = any(row.group for row in item.rows)
    columns = [
        ("#", "name", "", ""),
        *([(item.headings.get("group", ""), "name", "", "")] if grouped else []),
    ]
    columns.append((item.headings.get("label", ""), "name", "", ""))
    for column in item.columns:
        columns.append((column.heading, "ours", column.key, METRICS[column.metric].about))
        columns += [(f"{column.heading}, published", "published", "", "")] if column.published else []
    records = numbers.to_dict("records")
    footnotes: dict[str, str] = {}
    cells = []
    for record, row in zip(records, item.rows, strict=True):
        line = [str(record["row"])]
        if grouped:
            line.append(row.group)
        line.append(f"{row.label} {KEPT_PARENT}" if record["kept_parent"] else row.label)
        against = records[item.rows.index(row.against)] if row.against else None
        for column in item.columns:
            line.append(
                _ours(
                    record,
                    against,
                    row,
                    column,
                    footnotes,
                    (known or {}).get((record["row"], column.key), ""),
                )
            )
            line += [_printed(record, column)] if column.published else []
        cells.append(line)
    notes = [f"{mark} {reason}." for reason, mark in footnotes.items()]
    if same := [f"row {r['row']} as row {r['same_as']}" for r in records if not pd.isna(r["same_as"])]:
        notes.append(f"* One and the same run: {', '.join(same)}.")
    if any(record["kept_parent"] for record in records):
        notes.append(
            f"{KEPT_PARENT} The parent was selected, at update "
            f"0{' of some seed' if len(item.rows[0].chains) > 1 else ''}."
        )
    ruled = frozenset(place for place, row in enumerate(item.rows) if row.baseline)
    headings, kinds, keys, about = map(list, zip(*columns, strict=True))
    return Table(headings, kinds, cells, notes, ruled, keys, about)


def _ours(
    record: dict, against: dict | None, row: Row, column: Column, footnotes: dict[str, str], known: str
) -> str:
    """The text of one measured cell.

    If the cell is empty, its reason is added to `footnotes` (reason -> mark). `known`: the reason that
    concerns this cell alone.
    """
    metric = METRICS[column.metric]
    cell = _cell(record, column)
    if cell is None and metric.against and against is None:
        return "–"
    missing = record["missing"] or (against["missing"] if metric.against and against else "")
    if not missing and cell is None:
        if metric.may_be_none:
            return "–"
        missing = known or _not_recorded(row, column)
    elif (
        not missing
        and column.key == "bleu"
        and against
        and not against["missing"]
        and math.isnan(record["p_bootstrap"])
    ):
        missing = (
            "Not compared with the baseline: the translations of one of them are gone, or are of an earlier "
            "version of the test set"
        )
    mark = f" {footnotes.setdefault(missing, f'({_letter(len(footnotes))})')}" if missing else ""
    return f"{cell or '–'}{'*' if cell and not pd.isna(record['same_as']) else ''}{mark}"


def _not_recorded(row: Row, column: Column) -> str:
    """Why a cell is empty although its row has been scored or analysed."""
    metric = METRICS[column.metric]
    read = [row, *([row.against] if row.against and metric.against else [])] if metric.translations else []
    limited = next((each.first for each in read if each.first.last.get("class")), None)
    return f"{limited} is {BY_PERPLEXITY}" if limited else f"{column.heading} is not recorded"


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"a{number}"


def _cell(record: dict, column: Column) -> str | None:
    value = record[column.key]
    if math.isnan(value):
        return None
    deviation = record.get(f"{column.key}_sd", math.nan)
    text = number(column.metric, value, column.unit)
    if not math.isnan(deviation):
        text += f" ± {number(column.metric, deviation, column.unit).lstrip('+')}"
    if column.key == "bleu":
        text += _mark(record)
    elif _is_compared(column):
        text += _arrow(record, column)
    return text


def _arrow(record: dict, column: Column) -> str:
    """An arrow where a measure other than BLEU differs from the baseline's, up if it is better."""
    p = record.get(f"{column.key}_p", math.nan)
    if math.isnan(p):
        return ""
    difference = record[f"{column.key}_delta_low"] + record[f"{column.key}_delta_high"]
    return _level(p, BETTER if difference * METRICS[column.metric].better > 0 else WORSE)


def _mark(record: dict) -> str:
    """An arrow for the bootstrap, then a dagger for the sign test if both point in the same direction."""
    if math.isnan(record.get("p_bootstrap", math.nan)):
        return ""
    higher = record["delta_high"] + record["delta_low"] > 0
    agree = higher == (record["better"] > record["worse"])
    return _level(record["p_bootstrap"], BETTER if higher else WORSE) + (
        _level(record["p_sign"], SIGN_TEST) if agree else ""
    )


def _level(p: float, marks: dict[float, str]) -> str:
    """The mark of the strictest level that a p-value is below; empty if it is above all levels."""
    return next((mark for level, mark in sorted(marks.items()) if p < level), "")


def _printed(record: dict, column: Column) -> str:
    value = record[f"{column.key}_published"]
    if math.isnan(value):
        return ""
    mark = PRINTED_MARKS.get(record.get("significance_published", ""), "") if column.metric == "bleu" else ""
    return number(column.metric, value, column.unit) + mark


def number(metric: str, value: float, unit: str = "MB") -> str:
    """A value as tables print it; `unit`: the unit of sizes."""
    return METRICS[metric].printed(value, unit)


def widths(item: Item, numbers: pd.DataFrame) -> Table | None:
    """The widths of layers, one column per model and one row per layer, published ones in brackets.

    None if no width is known.
    """
    published = {name.removesuffix("_published") for name in numbers if name.endswith("_published")}
    wanted = [part for each in item.widths for part in WIDTHS[each]]
    shown = [
        name for part in wanted for name in numbers if (width := _WIDTH.fullmatch(name)) and width[1] == part
    ]
    if not shown:
        return None
    grouped = any(row.group for row in item.rows)
    columns = [f"{row.group}: {row.label}" if grouped and row.group else row.label for row in item.rows]
    records = numbers.to_dict("records")
    cells = []
    for name in shown:
        part, side, layer = name.split("_")
        cells.append(
            [
                f"{side.capitalize()} {layer}, {PARTS[part]}",
                *(_width(record, name, name in published) for record in records),
            ]
        )
    ruled = frozenset(
        place
        for place in range(1, len(shown))
        if shown[place].split("_")[:2] != shown[place - 1].split("_")[:2]
    )
    notes = ["Units (FFN) and heads (attention) left in each layer, in brackets the published ones."]
    return Table(["", *columns], ["name", *["ours"] * len(columns)], cells, notes, ruled)


def _width(record: dict, name: str, has_published: bool) -> str:
    """A width and its published value, `330 (289)`; with a decimal if the mean over seeds has one."""
    value, printed = record[name], record[f"{name}_published"] if has_published else math.nan
    text = "–" if math.isnan(value) else f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    return text if math.isnan(printed) else f"{text} ({printed:.0f})"


def _shown(cell: str | Marked, escaped: Callable[[str], str], mark: Callable[[str], str]) -> str:
    """The text of a cell in one format; `escaped` escapes text, `mark` marks a segment."""
    if isinstance(cell, str):
        return escaped(cell)
    return "".join(mark(escaped(text)) if marked else escaped(text) for text, marked in cell.segments)


def markdown(above: Table, title: str, sentences: list[str], below: Table | None = None) -> str:
    """A table in Markdown, of one block or two."""
    parts = [f"**{escape.markdown(title)}.** {escape.markdown(' '.join(sentences))}"]
    for printed in filter(None, (above, below)):
        alignment = ["left" if kind in TEXT else "right" for kind in printed.kinds]
        rows = [
            [_shown(cell, escape.cell, "**{}**".format) for cell in line]
            for line in [printed.headings, *printed.cells]
        ]
        parts.append(
            tabulate(
                rows[1:],
                rows[0],
                "pipe",
                disable_numparse=True,
                colalign=alignment if printed.cells else None,
            )
        )
        parts += map(escape.markdown, printed.footnotes)
    return "\n\n".join(parts).rstrip() + "\n"


TEXT = {"name", "text"}
_TEX_COLUMNS = {"name": "l", "text": r"p{0.6\textwidth}"}


def latex(above: Table, key: str, title: str, sentences: list[str], below: Table | None = None) -> str:
    """A LaTeX table environment of one block or two, with rules above `ruled` rows; text is escaped."""

    marked = r"\textbf{{{}}}".format
    blocks = [block for block in (above, below) if block]
    lines = [r"\begin{table}", r"\centering"]
    for printed in blocks:
        heading, *rows = (
            " & ".join(_shown(cell, escape.tex, marked) for cell in line) + r" \\"
            for line in [printed.headings, *printed.cells]
        )
        rows = [
            rf"\midrule{chr(10)}{row}" if place and place in printed.ruled else row
            for place, row in enumerate(rows)
        ]
        columns = "".join(_TEX_COLUMNS.get(kind, "r") for kind in printed.kinds)
        lines += [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            heading,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    notes = [note for printed in blocks for note in printed.footnotes]
    caption = escape.tex(f"{title}. {' '.join([*sentences, *notes])}")
    lines += [rf"\caption{{{caption}}}", rf"\label{{{key.replace('/', '-')}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"
