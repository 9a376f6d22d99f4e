"""A table with one row per model, our values beside published ones; below it, if the item asks for them, the
widths of layers.
"""

from __future__ import annotations

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import tables
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    table = tables.table(item, numbers, tables.reasons(item, measured))
    return Made(numbers, table.footnotes, table=table, widths=tables.widths(item, numbers))
