"""What can go without loss against the width of models, directly and with retraining."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot

from nmtprune.measurements.spare import MARGIN, is_bound, spare
from nmtprune.papers import Item, Row
from nmtprune.reporting import figures
from nmtprune.reporting.figures import COLOURS, MARKERS, STYLE
from nmtprune.reporting.made import Made
from nmtprune.reporting.measured import Measured


def make(item: Item, measured: Measured) -> Made:
    numbers = ladder(item, measured)
    return Made(numbers, figures.missing(numbers), figure=_figure(numbers))


def families(item: Item) -> list[tuple[Row, str, dict[float, Row]]]:
    """Each baseline with each of its labels and the rows of that label by the pruned share, ascending."""
    of_each: dict[tuple[int, str], tuple[Row, str, dict[float, Row]]] = {}
    for row in item.rows:
        if row.against is not None:
            share = float(next(iter(row.values.values())))
            of_each.setdefault((id(row.against), row.label), (row.against, row.label, {}))[2][share] = row
    return [(base, label, dict(sorted(rows.items()))) for base, label, rows in of_each.values()]


def width(row: Row, measured: Measured) -> int:
    """The model dimension of a row's recipe."""
    return measured.config.recipe(row.first.recipe)["architecture"]["embed_dim"]


def ladder(item: Item, measured: Measured) -> pd.DataFrame:
    """A row for each model and way of pruning: `spare` is the mean over the seeds that are there, `bound` whether it is a lower bound."""
    return pd.DataFrame([_record(*family, measured) for family in families(item)])


def _record(base: Row, label: str, rows: dict[float, Row], measured: Measured) -> dict:
    shares, bounds, absent = [], [], []
    for place, chain in enumerate(base.chains):
        chains = [chain, *(row.chains[place] for row in rows.values())]
        scores = [measured.value(each, "bleu") for each in chains]
        if None in scores:
            absent.append(measured.reason(chains[scores.index(None)]))
            continue
        losses = scores[0] - np.array(scores[1:])
        shares.append(float(spare(list(rows), losses)))
        bounds.append(bool(is_bound(losses)))
    return {
        "label": label,
        "recipe": base.first.recipe,
        "width": width(base, measured),
        "parameters": measured.value(base.first, "parameters"),
        "spare": float(np.mean(shares)) if shares else np.nan,
        "spare_sd": float(np.std(shares, ddof=1)) if len(shares) > 1 else np.nan,
        "bound": any(bounds),
        "seeds": len(shares),
        "missing": "; ".join(dict.fromkeys(absent)),
    }


def _figure(numbers: pd.DataFrame) -> pyplot.Figure:
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(5.6, 3.6), layout="constrained")
        there = numbers.dropna(subset="spare")
        for place, (label, line) in enumerate(there.groupby("label", sort=False)):
            line = line.sort_values("width")
            style = {"color": COLOURS[place], "marker": MARKERS[place], "linestyle": ("--", "-")[place % 2], "capsize": 2.5, "label": label}
            axes.errorbar(line["width"], line["spare"], yerr=line["spare_sd"], **style)
            for row in line[line["bound"]].itertuples():
                axes.annotate(
                    "", (row.width, row.spare + 7), (row.width, row.spare), arrowprops={"arrowstyle": "->", "color": COLOURS[place]}
                )
        axes.set_xscale("log", base=2)
        axes.set(xlabel="Model dimension d (parameters)", ylabel=f"Weights that can go for {MARGIN:g} BLEU (%)")
        models = numbers.drop_duplicates("width").sort_values("width")
        axes.set_xticks(models["width"], [_tick(row.width, row.parameters) for row in models.itertuples()], minor=False)
        axes.set_ylim(0, 100)
        if len(there):
            axes.legend(loc="best", fontsize=8, handlelength=3)
        else:
            figures.empty(axes)
    return figure


def _tick(width: int, parameters: float | None) -> str:
    return f"{width}" if parameters is None or np.isnan(parameters) else f"{width}\n({parameters / 1e6:.2g}M)"
