"""Tables: frames of raw numbers as printed in Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd
from tabulate import tabulate

from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.foundation import escape
from nmtprune.measurements.frame import WIDTH_COLUMN, WIDTHS, is_compared
from nmtprune.measurements.measurements import BY_PERPLEXITY
from nmtprune.reporting.rendition import Footnotes, Marked, Table

BETTER, WORSE = {0.05: "↑", 0.01: "⇑"}, {0.05: "↓", 0.01: "⇓"}  # paired bootstrap
SIGN_TEST = {0.05: "†", 0.01: "‡"}
PARTS = {"ffn": "FFN", "self": "self-attention", "cross": "context attention"}
KEPT_PARENT = "°"  # a row whose selected checkpoint is its parent's
PRINTED_MARKS = {"p<0.05": "↑", "p<0.01": "⇑"}


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
    footnotes = Footnotes()
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
    notes = footnotes.sentences
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
    record: dict, against: dict | None, row: Row, column: Column, footnotes: Footnotes, known: str
) -> str:
    """The text of one measured cell.

    If the cell is empty, its reason is added to `footnotes`. `known`: the reason that
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
    return f"{cell or '–'}{'*' if cell and not pd.isna(record['same_as']) else ''}{footnotes.mark(missing)}"


def _not_recorded(row: Row, column: Column) -> str:
    """Why a cell is empty although its row has been scored or analysed."""
    metric = METRICS[column.metric]
    read = [row, *([row.against] if row.against and metric.against else [])] if metric.translations else []
    limited = next((each.first for each in read if each.first.last.get("class")), None)
    return f"{limited} is {BY_PERPLEXITY}" if limited else f"{column.heading} is not recorded"


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
    elif is_compared(column):
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
        name
        for part in wanted
        for name in numbers
        if (width := WIDTH_COLUMN.fullmatch(name)) and width[1] == part
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
