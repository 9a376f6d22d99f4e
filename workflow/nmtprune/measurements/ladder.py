"""The ladder of widths: the share of weights that models of several widths can lose, by way of pruning."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nmtprune.experiment.papers import Item, Row
from nmtprune.foundation.known import known
from nmtprune.measurements import seeds
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.spare import is_bound, spare


def families(item: Item) -> list[tuple[Row, str, dict[float, Row]]]:
    """Families of pruned rows: a baseline, a label, and the rows with that label by the share pruned.

    The label is the way of pruning; shares are in ascending order.
    """
    by_baseline: dict[tuple[int, str], tuple[Row, str, dict[float, Row]]] = {}
    for row in item.rows:
        if row.against is not None:
            share = float(next(iter(row.values.values())))
            by_baseline.setdefault((id(row.against), row.label), (row.against, row.label, {}))[2][share] = row
    return [(base, label, dict(sorted(rows.items()))) for base, label, rows in by_baseline.values()]


def width(row: Row, measured: Measured) -> int:
    """The model dimension of a row's recipe."""
    return known(measured.config.recipe(row.first.recipe).architecture.embed_dim)


def ladder(item: Item, measured: Measured) -> pd.DataFrame:
    """A row for each model and way of pruning.

    `spare` is the mean over the seeds that have been scored, `bound` says whether it is only a lower bound.
    """
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
        "spare": seeds.mean(shares),
        "spare_sd": seeds.deviation(shares),
        "bound": any(bounds),
        "seeds": len(shares),
        "missing": "; ".join(dict.fromkeys(absent)),
    }
