"""Claims of this workflow that go beyond the papers."""

from __future__ import annotations

import numpy as np

from nmtprune.claims.evidence import BLEU, Evidence
from nmtprune.claims.registry import claim
from nmtprune.claims.verdict import Decision, Requirement, Undecidable, every, over_replicates
from nmtprune.measurements.ladder import families, width
from nmtprune.measurements.spare import MARGIN, slope, spare


@claim(
    "beyond/scale",
    "wider models have more to spare",
    "no paper: a figure of this workflow, on what all four leave open",
    "beyond/scale",
    note=f"For models of one depth, each at its plateau, the share of weights that can go for {MARGIN:g} "
    "BLEU must grow with the width, "
    "both if models are pruned directly and if they are pruned and retrained.",
)
def wider_models_have_more_to_spare(evidence: Evidence) -> Decision:
    evidence.rows("beyond/scale")
    by_label: dict[str, dict[int, tuple]] = {}
    for base, label, rows in families(evidence.items["beyond/scale"]):
        by_label.setdefault(label, {})[width(base, evidence.measured)] = (base, rows)
    return every([Requirement(label, _growth(evidence, models)) for label, models in by_label.items()])


def _growth(evidence: Evidence, models: dict[int, tuple]):
    """How much the share of weights that can go grows with each doubling of the width.

    It is in percentage points of the weights.
    """
    if len(models) < 3:
        raise Undecidable("fewer than three widths stand in here")
    for base, rows in models.values():
        for row in (base, *rows.values()):
            evidence.compare(row, base, same_allowed=True)
    lines = []
    for place in range(len(next(iter(models.values()))[0].chains)):
        shares = []
        for base, rows in models.values():
            chains = [base.chains[place], *(row.chains[place] for row in rows.values())]
            sets = evidence.common_sets(chains, BLEU)
            whole, *pruned = (evidence.replicates(chain, BLEU, sets) for chain in chains)
            shares.append(spare(list(rows), whole - np.stack(pruned)))
        lines.append(slope(list(models), np.stack(shares)))
    return over_replicates(np.stack(lines), " % of the weights per doubling")
