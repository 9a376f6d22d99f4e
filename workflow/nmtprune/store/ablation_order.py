"""The order in which components are ablated, from the analysis `order` (Wang and Tu 2020, section 3.3)."""

from __future__ import annotations

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component, read_component
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_table
from nmtprune.foundation.known import known

ANALYSIS, ITERATIVE, ONE_SHOT = "order", "iterative", "one-shot"


def least_important(chain: Chain) -> list[Component]:
    """The k least important components for `cut-<k>`, `drop-<k>` or `rewind-<k>`, the last step of a chain.

    They are the first k that iterative ablation of the parent removes. Raises UserError if the analysis is
    missing, or ablated fewer than k.
    """
    file, count = paths.analysis(known(chain.parent), ANALYSIS), int(chain.last["count"])
    if not file.exists():
        raise UserError(f"there is no {file}: make it first (snakemake {file})")
    ablated = [
        row["component"] for row in read_table(file) if row["method"] == ITERATIVE and row["number"] != "0"
    ]
    if len(ablated) < count:
        raise UserError(
            f"`{chain.last}` takes {count} components and {file} has the first {len(ablated)} of them; raise "
            "`importance.group`"
        )
    return [read_component(name) for name in ablated[:count]]
