"""The papers' claims as tests: every claim is a function of scores that gives a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nmtprune.claims import (
    behnke2021,  # noqa: F401 (they enter their claims)
    beyond,  # noqa: F401
    own_rows,
    see2016,  # noqa: F401
    wang2020,  # noqa: F401
    wangtu2020,  # noqa: F401
)
from nmtprune.claims.evidence import Evidence
from nmtprune.claims.registry import CLAIMS, Claim, Finding
from nmtprune.claims.verdict import Verdict
from nmtprune.experiment import own
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured


def decide(run: Run, measured: Measured) -> list[tuple[Claim, Finding]]:
    """The claims of the run's papers with their findings, then claims on which own chains give numbers.

    They are in the order of the papers. A claim is left out if the run has none of the tables and figures of
    its paper that it is read from.
    """
    evidence = Evidence(run.config, measured, run.items)
    chosen = [
        each
        for name in dict.fromkeys(item.paper for item in run.items)
        for each in CLAIMS
        if each.paper == name
    ]
    decided = [
        (each, each.finding(evidence))
        for each in chosen
        if any(key in evidence.items for key in each.of_its_paper)
    ]
    return [*decided, *_by_own_chains(run, measured, {each for each, _ in decided})]


def _by_own_chains(run: Run, measured: Measured, known: set[Claim]) -> Iterator[tuple[Claim, Finding]]:
    """The claims, without those that are `known`, about which the run's own chains give numbers."""
    evidence = Evidence(run.config, measured, own_rows.items(run))
    for claim in CLAIMS:
        if claim not in known and any(key in evidence.items for key in claim.of_its_paper):
            finding = claim.finding(evidence)
            if finding.deciding is not None or finding.verdict is not Verdict.UNDECIDED:
                yield claim, replace(finding, items=(f"{own.PAPER}/{own.TABLE}",))
