"""Names of tasks, recipes, presets, schedules and imports: each becomes a folder, a word of a shell line and
a wildcard of Snakemake.

Titles and paths may hold anything; names hold nothing that any of these would read as its own.
"""

from __future__ import annotations

import re

from nmtprune.experiment import paths
from nmtprune.foundation.errors import UserError

PATTERN = r"^\w[\w.+-]{0,59}$"  # as in the schemas
RULE = "a name has at most 60 letters, digits and . _ + -, and begins with a letter, a digit or _"
TAKEN = {  # by folders that all runs share
    "presets": (
        "data",
        "models",
        "speed",
        "logs",
        "costs",
        "origins",
        "reference",
    ),  # and runs, whose pages lie beside those of presets
    "tasks": (paths.DOWNLOADS.name,),
}


def check(kind: str, name: str, where: str) -> None:
    """Raises UserError, which begins with `where`, for a name that cannot be one of this kind (`tasks`,
    `recipes`, `presets`, ...).
    """
    if not re.fullmatch(PATTERN, name):
        raise UserError(f"{where}: `{name}` cannot be the name of a {kind.rstrip('s')}: {RULE}")
    if name in TAKEN.get(kind, ()):
        raise UserError(
            f"{where}: a {kind.rstrip('s')} cannot be called `{name}`: {paths.RESULTS} has a folder of this "
            "name for all runs"
        )
