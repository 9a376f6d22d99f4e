"""The list of claims: each is a function of scores, with the words of the paper and their place in it."""

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
    """The verdict on a claim.

    `because`: the numbers, or the reason why nothing is decided; `items`: the tables and figures that were
    read; `deciding`: the requirement that decides the verdict; `of_method`: whether there are enough
    trainings for a verdict on the method; `estimated`: whether anything could be estimated.
    """

    verdict: Verdict
    because: str
    items: tuple[str, ...] = ()
    deciding: Requirement | None = None
    of_method: bool = True
    estimated: bool = True

    @property
    def said(self) -> str:
        """The verdict as it is printed: `holds`, or `agrees, in this run` if there are too few trainings."""
        return str(self.verdict) if self.of_method else self.verdict.of_run()

    @property
    def precision(self) -> str:
        """The precision of the deciding number: the spread between trainings, and what would decide."""
        if self.deciding is None:
            return ""
        needed = what_would_decide(self.deciding) if self.verdict is Verdict.UNDECIDED else ""
        return "; ".join(filter(None, [self.deciding.estimate.spread, needed]))


@dataclass(frozen=True)
class Claim:
    """A statement of a paper that can be tested.

    `text`: the paper's words, quoted; `where`: section, and figure or table; `items`: the tables and figures
    that decide it, also those of other papers; `note`: how the words are read if they leave that open;
    `headline`: whether summaries show it.
    """

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
        """The claim's name with its paper, `<paper>/<name>`."""
        return f"{self.paper}/{self.name}"

    @property
    def of_its_paper(self) -> tuple[str, ...]:
        """The keys in `items` that belong to the claim's own paper."""
        return tuple(key for key in self.items if key.startswith(f"{self.paper}/"))

    def finding(self, evidence: Evidence) -> Finding:
        """The verdict by the evidence; undecided, with the reason, if something is missing."""
        known = [key for key in self.items if key in evidence.items]
        read = tuple(key for key in known if evidence.items[key].rows) or tuple(known)
        try:
            decision, estimated = self.decide(evidence), True
        except Undecidable as reason:
            decision, estimated = Decision(Verdict.UNDECIDED, str(reason)), False
        because = f"{_capital(decision.because)}."
        return Finding(decision.verdict, because, read, decision.deciding, decision.of_method, estimated)


def _capital(text: str) -> str:
    """The text with a capital letter at its beginning, unless it begins with the name of a model."""
    return (
        f"{text[:1].upper()}{text[1:]}"
        if re.fullmatch(r"[A-Za-z]+(-[A-Za-z]+)*[:,]?", text.partition(" ")[0])
        else text
    )


CLAIMS: list[Claim] = []


def claim(
    key: str, text: str, where: str, *items: str, note: str = "", headline: bool = False
) -> Callable[[Decide], Decide]:
    """Enter a function into the list as the claim `<paper>/<name>`.

    The function returns a decision, whose text has no full stop.
    """
    paper, _, name = key.partition("/")

    def enter(decide: Decide) -> Decide:
        CLAIMS.append(Claim(paper, name, text, where, items, decide, note, headline))
        return decide

    return enter
