"""A rendered item: its numbers, and the table or figure that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nmtprune.measurements import absences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Marked:
    """The text of a cell in segments; a marked one is a difference from another text."""

    segments: tuple[tuple[str, bool], ...]

    def __str__(self) -> str:
        return "".join(text for text, _ in self.segments)


class Footnotes:
    """The reasons why cells are empty or incomplete, each with its mark: `(a)`, `(b)`, ..."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def mark(self, reason: str) -> str:
        """The mark of a reason, after a space; empty without a reason."""
        number = len(self._marks)
        letter = chr(ord("a") + number) if number < 26 else f"a{number}"
        return f" {self._marks.setdefault(reason, f'({letter})')}" if reason else ""

    @property
    def sentences(self) -> list[str]:
        """The footnotes below the table; seeds of a model that lack the same are named together."""
        return [f"{mark} {'; '.join(absences.merged([reason]))}." for reason, mark in self._marks.items()]


@dataclass(frozen=True)
class Table:
    """A table as it is printed.

    `kinds`: for each column, whether it names the row (`name`) or holds `ours`, `published` or running
    `text`; `ruled`: the indices of rows with a rule above them; `keys`, `about`: for each column the key of
    the measured column that it is of and what it measures, where that is known.
    """

    headings: list[str]
    kinds: list[str]
    cells: Sequence[Sequence[str | Marked]]
    footnotes: list[str]
    ruled: frozenset[int] = frozenset()
    keys: Sequence[str] = ()
    about: Sequence[str] = ()

    @property
    def key_column(self) -> int:
        """The column that names the rows: the last of those at the left that hold names."""
        return max(next((place for place, kind in enumerate(self.kinds) if kind != "name"), 1) - 1, 0)

    def longest(self, column: int) -> int:
        """The number of characters of a column's longest cell, without its heading; 0 for running text."""
        cells = (cells[column] for cells in self.cells)
        return max((len(cell) for cell in cells if isinstance(cell, str)), default=0)


@dataclass(frozen=True)
class Made:
    """What a kind makes of an item: `numbers` for the CSV file, and either a `table` or a `figure`.

    `footnotes`: what is missing and why. `widths`: a second block under the table with the widths of layers.
    `sentences`: results that are not numbers of the table, printed after the caption.
    """

    numbers: pd.DataFrame
    footnotes: list[str]
    table: Table | None = None
    widths: Table | None = None
    figure: Figure | None = None
    sentences: list[str] = field(default_factory=list)
