"""One module a kind of table or figure; each has `make(item, measured) -> Made`."""

from __future__ import annotations

from importlib import import_module

from nmtprune.papers import Item
from nmtprune.reporting.made import Made
from nmtprune.reporting.measured import Measured


def make(item: Item, measured: Measured) -> Made:
    """An item's numbers and their table or figure, from what has been measured so far."""
    return import_module(f"{__name__}.{item.kind}").make(item, measured)
