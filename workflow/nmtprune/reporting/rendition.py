"""What a kind of table or figure makes of an item: numbers, and the way they are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Marked:
    """Text of a cell in segments, each marked (a difference) or not."""

    segments: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        return "".join(text for text, _ in self.segments)


@dataclass(frozen=True)
class Table:
    """A table in print. `kinds` says of each column whether it names the row (`name`), is `ours`, `published` or running `text`.

    `ruled`: the rows, counted from 0, with a rule above them.
    """

    headings: list[str]
    kinds: list[str]
    cells: list[list[str | Marked]]
    footnotes: list[str]
    ruled: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Made:
    """`numbers` go to the CSV file; a kind makes either a `table` or a `figure`. `footnotes` tell what is missing and why.

    `widths`: a second block under the table, the widths of layers. `sentences` are put after the caption: what was found that is no
    number of the table.
    """

    numbers: pd.DataFrame
    footnotes: list[str]
    table: Table | None = None
    widths: Table | None = None
    figure: Figure | None = None
    sentences: list[str] = field(default_factory=list)
