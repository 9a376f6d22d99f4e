"""A table: a row a model, ours beside published; under it, where the item asks for them, the widths of layers."""

from __future__ import annotations

from nmtprune.papers import Item
from nmtprune.reporting import tables
from nmtprune.reporting.made import Made
from nmtprune.reporting.measured import Measured


def make(item: Item, measured: Measured) -> Made:
    numbers = tables.frame(item, measured)
    table = tables.table(item, numbers, tables.reasons(item, measured))
    return Made(numbers, table.footnotes, table=table, widths=tables.widths(item, numbers))
