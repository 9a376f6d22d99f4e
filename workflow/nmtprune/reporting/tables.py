"""Rows of a table or figure: one frame of raw numbers, and the same as CSV, Markdown and LaTeX."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from tabulate import tabulate

from nmtprune.papers import Column, Item, Row
from nmtprune.reporting.made import Marked, Table
from nmtprune.reporting.measured import BY_PERPLEXITY, Measured
from nmtprune.scoring.significance import paired_bootstrap, sign_test, substitution_gains

# what a seed changes: printed with its deviation
VARIES = {"bleu", "delta", "chrf", "perplexity", "perplexity_delta", "nll_per_token", "train_nll", "dev_nll", "gap"}
# metric -> what of a row and of its baseline it compares, and how
AGAINST: dict[str, tuple[str, Callable[[float, float], float]]] = {
    "delta": ("bleu", operator.sub),
    "perplexity_delta": ("perplexity", operator.sub),
    "size_reduction": ("size_stored", lambda ours, theirs: 100 * (1 - ours / theirs)),
}
TRANSLATED = {"bleu", "delta", "chrf"}  # what needs hypotheses
RANKS = {"source_rank_gone", "target_rank_gone"}  # of words that are gone: none where no word is
BETTER, WORSE = {0.05: "↑", 0.01: "⇑"}, {0.05: "↓", 0.01: "⇓"}  # paired bootstrap
SIGN_TEST = {0.05: "†", 0.01: "‡"}
PRINTED_MARKS = {"p<0.05": "↑", "p<0.01": "⇑"}


def frame(item: Item, measured: Measured) -> pd.DataFrame:
    """Raw numbers of all rows at full precision; published values in columns of their own, after ours.

    `<metric>` is the mean over seeds and `<metric>_sd` their standard deviation; `seeds` counts those that are there,
    `missing` says why others are not, and `same_as` is the number of an earlier row that is one and the same run.
    """
    variables = list(dict.fromkeys(variable for row in item.rows for variable in row.values))
    first: dict[tuple, int] = {}
    records = []
    for number, row in enumerate(item.rows, 1):
        record = {"row": number, "group": row.group, "label": row.label}
        record |= {variable: row.values.get(variable) for variable in variables}
        record |= {"task": row.chains[0].task, "recipe": row.chains[0].recipe}
        record["chain"] = "/".join(map(str, row.chains[0].steps))
        same = first.setdefault(row.chains, number)
        record["same_as"] = same if same != number else None
        for column in item.columns:
            values = _values(row, column.metric, measured)
            record[column.metric] = float(np.mean(values)) if values else math.nan
            if len(row.chains) > 1 and column.metric in VARIES:
                record[f"{column.metric}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        if item.kind == "table" and any(column.metric == "bleu" for column in item.columns):
            record |= _significance(row, measured)
        absent = [reason for chain in row.chains if (reason := measured.missing(chain, item.reads))]
        record["seeds"] = len(row.chains) - len(absent)
        record["missing"] = "; ".join(absent)
        records.append(record)
    names = ["row", "group", "label", "task", "recipe", "chain", "same_as", *(column.metric for column in item.columns)]
    ours = pd.DataFrame(records, columns=None if records else names)
    ours[["same_as", *variables]] = ours[["same_as", *variables]].convert_dtypes()
    published = {f"{c.metric}_published": [_published(row, c) for row in item.rows] for c in item.columns if c.published}
    if any("significance" in row.published for row in item.rows):
        published["significance_published"] = [row.published.get("significance", "") for row in item.rows]
    return ours.assign(**published)


def _values(row: Row, metric: str, measured: Measured) -> list[float]:
    """One value for each seed that has one."""
    if metric in AGAINST:
        of, compare = AGAINST[metric]
        pairs = zip(row.chains, row.against.chains if row.against else (), strict=False)
        both = [(measured.value(ours, of), measured.value(theirs, of)) for ours, theirs in pairs]
        return [compare(ours, theirs) for ours, theirs in both if ours is not None and theirs is not None]
    return [value for chain in row.chains if (value := measured.value(chain, metric)) is not None]


def _published(row: Row, column: Column) -> float:
    text = row.published.get(column.published, "")
    return float(text) * column.scale if text else math.nan


def _significance(row: Row, measured: Measured) -> dict[str, float]:
    """Difference in BLEU from the baseline: its 95 % interval, the p-value of paired bootstrap, and the sign test.

    `better` and `worse` count the sentences that raise and lower the baseline's BLEU, `p_sign` is their sign test's p-value.
    """
    names = ("delta_low", "delta_high", "p_bootstrap", "better", "worse", "p_sign")
    if row.against is None:
        return dict.fromkeys(names, math.nan)
    system = [measured.statistics(chain) for chain in row.chains]
    baseline = [measured.statistics(chain) for chain in row.against.chains]
    if any(each is None for each in system + baseline):
        return dict.fromkeys(names, math.nan)
    ours, theirs = np.concatenate(system), np.concatenate(baseline)
    compared = paired_bootstrap(theirs, ours)
    # a sentence counts once, however many seeds translate it
    gains = np.mean([substitution_gains(theirs[[i]], ours[[i]]) for i in range(len(ours))], axis=0)
    signs = sign_test(gains)
    return dict(zip(names, (compared.low, compared.high, compared.p, signs.better, signs.worse, signs.p), strict=True))


def table(item: Item, numbers: pd.DataFrame) -> Table:
    """A frame as printed: ours beside published, marks, footnotes for empty cells and for rows of the same run."""
    grouped = any(row.group for row in item.rows)
    columns = [("#", "name"), *([(item.headings.get("group", ""), "name")] if grouped else [])]
    columns.append((item.headings.get("label", ""), "name"))
    for column in item.columns:
        columns.append((column.heading, "ours"))
        columns += [(f"{column.heading}, published", "published")] if column.published else []
    records = numbers.to_dict("records")
    footnotes: dict[str, str] = {}
    cells = []
    for record, row in zip(records, item.rows, strict=True):
        line = [str(record["row"])]
        if grouped:
            line.append(row.group)
        line.append(row.label)
        against = records[item.rows.index(row.against)] if row.against else None
        for column in item.columns:
            line.append(_ours(record, against, row, column, footnotes))
            line += [_printed(record, column)] if column.published else []
        cells.append(line)
    notes = [f"{mark} {reason}." for reason, mark in footnotes.items()]
    if same := [f"row {r['row']} as row {r['same_as']}" for r in records if not pd.isna(r["same_as"])]:
        notes.append(f"* One and the same run: {', '.join(same)}.")
    ruled = frozenset(place for place, row in enumerate(item.rows) if row.baseline)
    return Table([heading for heading, _ in columns], [kind for _, kind in columns], cells, notes, ruled)


def _ours(record: dict, against: dict | None, row: Row, column: Column, footnotes: dict[str, str]) -> str:
    """One measured cell. `footnotes`, reason to mark, gains the reason for what is missing in it."""
    metric = column.metric
    cell = _cell(record, metric)
    if cell is None and metric in AGAINST and against is None:
        return "–"
    missing = record["missing"] or (against["missing"] if metric in AGAINST and against else "")
    if not missing and cell is None:
        if metric in RANKS:
            return "–"
        missing = _not_recorded(row, column)
    elif not missing and metric == "bleu" and against and not against["missing"] and math.isnan(record["p_bootstrap"]):
        missing = "Not compared with the baseline: the translations of one of them are gone, or of another text than the test set is now"
    mark = f" {footnotes.setdefault(missing, f'({_letter(len(footnotes))})')}" if missing else ""
    return f"{cell or '–'}{'*' if cell and not pd.isna(record['same_as']) else ''}{mark}"


def _not_recorded(row: Row, column: Column) -> str:
    """Why a cell is empty although its row has been scored or analysed."""
    read = [row, *([row.against] if row.against and column.metric in AGAINST else [])] if column.metric in TRANSLATED else []
    limited = next((each.chains[0] for each in read if each.chains[0].last.get("class")), None)
    return f"{limited} is {BY_PERPLEXITY}" if limited else f"{column.heading} is not recorded"


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else f"a{number}"


def _cell(record: dict, metric: str) -> str | None:
    value = record[metric]
    if math.isnan(value):
        return None
    deviation = record.get(f"{metric}_sd", math.nan)
    text = number(metric, value)
    if not math.isnan(deviation):
        text += f" ± {number(metric, deviation).lstrip('+')}"
    if metric == "bleu":
        text += _mark(record)
    return text


def _mark(record: dict) -> str:
    """An arrow for the bootstrap, then a dagger for the sign test where that speaks for the same side."""
    if math.isnan(record.get("p_bootstrap", math.nan)):
        return ""
    higher = record["delta_high"] + record["delta_low"] > 0
    agree = higher == (record["better"] > record["worse"])
    return _level(record["p_bootstrap"], BETTER if higher else WORSE) + (_level(record["p_sign"], SIGN_TEST) if agree else "")


def _level(p: float, marks: dict[float, str]) -> str:
    """The mark of the strictest level that a p-value is below; nothing above all levels."""
    return next((mark for level, mark in sorted(marks.items()) if p < level), "")


def _printed(record: dict, column: Column) -> str:
    value = record[f"{column.metric}_published"]
    if math.isnan(value):
        return ""
    mark = PRINTED_MARKS.get(record.get("significance_published", ""), "") if column.metric == "bleu" else ""
    return number(column.metric, value) + mark


def number(metric: str, value: float) -> str:
    """A value as tables print it."""
    match metric:
        case "delta" | "perplexity_delta" | "gap":
            return f"{value:+.2f}".replace("-", "−")
        case "parameters" | "nonzero" | "prunable":
            millions = value / 1e6
            return f"{millions:.{1 if millions >= 10 else 2 if millions >= 1 else 3}f}M"
        case "size_dense" | "size_sparse" | "size_stored":
            return f"{value / 1e6:.2f} MB"
        case "updates" | "source_words_gone" | "target_words_gone":
            return f"{value:,.0f}"
        case "sparsity" | "size_reduction" | "source_rank_gone" | "target_rank_gone":
            return f"{value:.1f}"
        case "nll_per_token" | "train_nll" | "dev_nll":
            return f"{value:.3f}"
        case _:
            return f"{value:.2f}"


def _shown(cell: str | Marked, escape: Callable[[str], str], mark: Callable[[str], str]) -> str:
    """A cell's text with its marked segments in the format's own way."""
    if isinstance(cell, str):
        return escape(cell)
    return "".join(mark(escape(text)) if marked else escape(text) for text, marked in cell.segments)


def _in_markdown(text: str) -> str:
    """Text that no Markdown reader takes for markup."""
    return re.sub(r"([\\`*_|<\[\]~])", r"\\\1", text)


def markdown(printed: Table, title: str, sentences: list[str]) -> str:
    alignment = ["left" if kind in TEXT else "right" for kind in printed.kinds]
    rows = [[_shown(cell, _in_markdown, "**{}**".format) for cell in line] for line in [printed.headings, *printed.cells]]
    body = tabulate(rows[1:], rows[0], "pipe", disable_numparse=True, colalign=alignment if printed.cells else None)
    notes = "".join(f"{text}\n\n" for text in printed.footnotes)
    return f"**{title}.** {' '.join(sentences)}\n\n{body}\n\n{notes}".rstrip() + "\n"


TEXT = {"name", "text"}
_TEX_COLUMNS = {"name": "l", "text": r"p{0.6\textwidth}"}
_TEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "|": r"\textbar{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "Δ": r"$\Delta$",
        "↑": r"$\uparrow$",
        "⇑": r"$\Uparrow$",
        "↓": r"$\downarrow$",
        "⇓": r"$\Downarrow$",
        "†": r"$\dagger$",
        "‡": r"$\ddagger$",
        "–": "--",
        "−": "$-$",
    }
)


def latex(printed: Table, key: str, title: str, sentences: list[str]) -> str:
    """A table environment with booktabs rules, one above every row that begins a part; every character of text is escaped."""

    def escaped(text: str) -> str:
        return text.translate(_TEX)

    marked = r"\textbf{{{}}}".format
    heading, *rows = (" & ".join(_shown(cell, escaped, marked) for cell in line) + r" \\" for line in [printed.headings, *printed.cells])
    rows = [rf"\midrule{chr(10)}{row}" if place and place in printed.ruled else row for place, row in enumerate(rows)]
    columns = "".join(_TEX_COLUMNS.get(kind, "r") for kind in printed.kinds)
    caption = f"{title}. {' '.join([*sentences, *printed.footnotes])}".translate(_TEX)
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}", r"\toprule", heading, r"\midrule"]
    lines += [
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{caption}}}",
        rf"\label{{{key.replace('/', '-')}}}",
    ]
    return "\n".join([*lines, r"\end{table}"]) + "\n"
