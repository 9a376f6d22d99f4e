"""A finding is a test: every claim of the papers as a function over scores, with its verdict."""

from __future__ import annotations

from nmtprune import papers
from nmtprune.claims import behnke2021, beyond, see2016, wang2020, wangtu2020  # noqa: F401 (they enter their claims)
from nmtprune.claims.evidence import Evidence
from nmtprune.claims.registry import CLAIMS, Claim, Finding
from nmtprune.config import Config
from nmtprune.reporting.measured import Measured


def decide(config: Config, measured: Measured) -> list[tuple[Claim, Finding]]:
    """The claims of the run's papers with what is found of them, in the order of the papers; those of which the run has no table or
    figure of the paper's are left out."""
    items = papers.items(config)
    evidence = Evidence(config, measured, items)
    chosen = [each for name in dict.fromkeys(item.paper for item in items) for each in CLAIMS if each.paper == name]
    return [(each, each.finding(evidence)) for each in chosen if any(key in evidence.items for key in each.of_its_paper)]
