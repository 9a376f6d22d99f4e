"""One module for each kind of table or figure, with a function `make(item, measured) -> Made`."""

from __future__ import annotations

from importlib import import_module

from nmtprune.experiment.papers import Item
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.rendition import Made


def make(item: Item, measured: Measured) -> Made:
    """An item's numbers, and the table or figure that shows them, from what has been measured so far."""
    return import_module(f"{__name__}.{item.kind}").make(item, measured)
