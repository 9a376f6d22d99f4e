"""The list of claims: each a function over scores, with what the paper says and where."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nmtprune.claims.verdict import Finding, Undecidable, Verdict

if TYPE_CHECKING:
    from nmtprune.claims.evidence import Evidence

Decide = Callable[["Evidence"], tuple[Verdict, str]]


@dataclass(frozen=True)
class Claim:
    """A finding of a paper. `text`: in its words; `where`: its section and figure or table; `items`: the tables and figures it is
    read from, those of other papers included."""

    paper: str
    name: str
    text: str
    where: str
    items: tuple[str, ...]
    decide: Decide

    @property
    def key(self) -> str:
        return f"{self.paper}/{self.name}"

    @property
    def of_its_paper(self) -> tuple[str, ...]:
        """Those of its tables and figures that are the paper's own."""
        return tuple(key for key in self.items if key.startswith(f"{self.paper}/"))

    def finding(self, evidence: Evidence) -> Finding:
        """The verdict; undecided with the reason where something is missing."""
        known = [key for key in self.items if key in evidence.items]
        read = tuple(key for key in known if evidence.items[key].rows) or tuple(known)
        try:
            verdict, because = self.decide(evidence)
        except Undecidable as reason:
            verdict, because = Verdict.UNDECIDED, str(reason)
        return Finding(verdict, f"{_capital(because)}.", read)


def _capital(text: str) -> str:
    """A sentence's beginning; names of models stay as they are."""
    return f"{text[:1].upper()}{text[1:]}" if re.fullmatch(r"[A-Za-z]+(-[A-Za-z]+)*[:,]?", text.partition(" ")[0]) else text


CLAIMS: list[Claim] = []


def claim(key: str, text: str, where: str, *items: str) -> Callable[[Decide], Decide]:
    """Enter a function into the list: `key` is `<paper>/<name>`. It returns the verdict and the numbers, without a full stop."""
    paper, _, name = key.partition("/")

    def enter(decide: Decide) -> Decide:
        CLAIMS.append(Claim(paper, name, text, where, items, decide))
        return decide

    return enter
