"""What a cell of a table says when pointed at: values of seeds, intervals, signatures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from nmtprune.experiment.metrics import METRICS, SPEED
from nmtprune.experiment.papers import Column, Item, Row
from nmtprune.measurements.measurements import Measured, Way
from nmtprune.reporting.tables import number


def of_cells(item: Item, numbers: pd.DataFrame, measured: Measured) -> dict[tuple[int, str], str]:
    """The tooltips of a table by index of the row and key of the column.

    A cell of which nothing more is known has none.
    """
    way = measured.way(item) if SPEED in item.reads else None
    tested = next((column.test_set for column in item.columns if column.key == "bleu"), None)
    return {
        (place, column.key): text
        for place, (row, record) in enumerate(zip(item.rows, numbers.to_dict("records"), strict=False))
        for column in item.columns
        if not _is_missing(record.get(column.key))
        and (text := "; ".join(_said(row, column, record, measured, way, column.test_set == tested)))
    }


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _said(
    row: Row, column: Column, record: dict[str, Any], measured: Measured, way: Way | None, tested: bool
) -> Iterator[str]:
    """What is known of a cell; `tested`: whether BLEU was compared on the test set that the column shows."""
    metric = METRICS[column.metric]
    if metric.varies:
        yield _seeds(row, column, measured, way)
    if not _is_missing(record.get(f"{column.key}_low")):
        low, high = (
            number(column.metric, record[f"{column.key}_{end}"], column.unit) for end in ("low", "high")
        )
        yield f"95 % interval {low} to {high}"
    if tested and column.metric in ("bleu", "delta") and not _is_missing(record.get("delta_low")):
        low, high = (number("delta", record[f"delta_{end}"]) for end in ("low", "high"))
        p = record["p_bootstrap"]
        yield f"difference from the baseline {low} to {high} BLEU, p = {p:.3f} (paired bootstrap)"
    if metric.reads == SPEED and (timed := measured.speed(row.first, way, metric.batch_size)):
        low, high = float(timed["seconds_low"]), float(timed["seconds_high"])
        yield f"median of {timed['runs']} runs, which took {low:.2f} to {high:.2f} seconds"
        yield timed["engine_version"]
    scores = measured.scores(row.first)
    if metric.signature and scores and scores.get(metric.signature[1]):
        yield f"{metric.signature[0]} {scores[metric.signature[1]]}"


def _seeds(row: Row, column: Column, measured: Measured, way: Way | None) -> str:
    """The value of each seed; without one, the seeds alone."""
    metric = METRICS[column.metric]
    if len(row.chains) == 1 or metric.against:
        return (
            f"seed{'s' if len(row.chains) > 1 else ''} {', '.join(str(chain.seed) for chain in row.chains)}"
        )
    values = {chain.seed: measured.value(chain, column.metric, column.test_set, way) for chain in row.chains}
    return ", ".join(
        f"seed {seed}: {'–' if value is None else number(column.metric, value, column.unit)}"
        for seed, value in values.items()
    )
