"""The list of claims: each a function over scores, with what the paper says and where."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nmtprune.claims.verdict import Decision, Requirement, Undecidable, Verdict, what_would_decide

if TYPE_CHECKING:
    from nmtprune.claims.evidence import Evidence

Decide = Callable[["Evidence"], Decision]


@dataclass(frozen=True)
class Finding:
    """What measured scores say of a claim: `because` has the numbers, or the reason why nothing is decided; `items` were read;
    `deciding` is the requirement that the verdict hangs on; `of_method`: whether enough trainings are behind it to speak of the method."""

    verdict: Verdict
    because: str
    items: tuple[str, ...] = ()
    deciding: Requirement | None = None
    of_method: bool = True

    @property
    def said(self) -> str:
        """`holds`; `agrees, in this run` where the trainings are too few to speak of the method."""
        return str(self.verdict) if self.of_method else self.verdict.of_run()

    @property
    def precision(self) -> str:
        """How sure the number behind the verdict is: the spread between trainings and, while nothing is decided, what would decide it."""
        if self.deciding is None:
            return ""
        open_ = self.verdict is Verdict.UNDECIDED
        return "; ".join(filter(None, [self.deciding.estimate.spread, what_would_decide(self.deciding) if open_ else ""]))


@dataclass(frozen=True)
class Claim:
    """A finding of a paper. `text`: its words, quoted; `where`: their section, and the figure or table; `items`: the tables and figures
    it is read from, those of other papers included; `note`: how it is read where the words leave that open; `headline`: shown in
    summaries."""

    paper: str
    name: str
    text: str
    where: str
    items: tuple[str, ...]
    decide: Decide
    note: str = ""
    headline: bool = False

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
            decision = self.decide(evidence)
        except Undecidable as reason:
            decision = Decision(Verdict.UNDECIDED, str(reason))
        because = f"{_capital(decision.because)}."
        return Finding(decision.verdict, because, read, decision.deciding, decision.of_method)


def _capital(text: str) -> str:
    """A sentence's beginning; names of models stay as they are."""
    return f"{text[:1].upper()}{text[1:]}" if re.fullmatch(r"[A-Za-z]+(-[A-Za-z]+)*[:,]?", text.partition(" ")[0]) else text


CLAIMS: list[Claim] = []


def claim(key: str, text: str, where: str, *items: str, note: str = "", headline: bool = False) -> Callable[[Decide], Decide]:
    """Enter a function into the list: `key` is `<paper>/<name>`. It returns the decision, its text without a full stop."""
    paper, _, name = key.partition("/")

    def enter(decide: Decide) -> Decide:
        CLAIMS.append(Claim(paper, name, text, where, items, decide, note, headline))
        return decide

    return enter
