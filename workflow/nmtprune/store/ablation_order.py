"""The order in which components are least missed, as the analysis `order` leaves it (Wang and Tu 2020,
section 3.3).
"""

from __future__ import annotations

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.components import Component, read_component
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_table

ANALYSIS, ITERATIVE, ONE_SHOT = "order", "iterative", "one-shot"


def least_important(chain: Chain) -> list[Component]:
    """The components that the last step of a chain takes, `drop-<k>` or `rewind-<k>`: the first k that
    ablating its parent iteratively removes. Raises UserError where that was not found out, or not for so
    many.
    """
    file, count = paths.analysis(chain.parent, ANALYSIS), int(chain.last["count"])
    if not file.exists():
        raise UserError(f"there is no {file}: make it first (snakemake {file})")
    found = [
        row["component"] for row in read_table(file) if row["method"] == ITERATIVE and row["number"] != "0"
    ]
    if len(found) < count:
        raise UserError(
            f"`{chain.last}` takes {count} components and {file} has the first {len(found)} of them; raise "
            "`importance.group`"
        )
    return [read_component(name) for name in found[:count]]
