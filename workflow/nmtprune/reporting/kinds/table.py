"""A table with one row for each model and our values beside published ones.

Below it are the widths of layers, if the item asks for them.
"""

from __future__ import annotations

from nmtprune.experiment.papers import Item
from nmtprune.measurements.frame import frame, reasons
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import tables
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    """The item's numbers and its table."""
    numbers = frame(item, measured)
    table = tables.table(item, numbers, reasons(item, measured))
    return Made(numbers, table.footnotes, table=table, widths=tables.widths(item, numbers))
