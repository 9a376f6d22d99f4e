"""Rules for names of tasks, recipes, presets, schedules and imports.

A name becomes a folder, a word of a shell line and a wildcard of Snakemake, so it must not contain
anything that has a meaning there. Titles and paths may contain anything.
"""

from __future__ import annotations

import re

from nmtprune.experiment import paths
from nmtprune.foundation.errors import UserError

PATTERN = r"^\w[\w.+-]{0,59}$"  # as in the schemas
RULE = "a name has at most 60 letters, digits and . _ + -, and begins with a letter, a digit or _"
# Names that are taken by folders that all runs share. The pages of runs lie beside those of presets.
TAKEN = {
    "presets": (
        "data",
        "models",
        "speed",
        "logs",
        "costs",
        "origins",
        "reference",
    ),
    "tasks": (paths.DOWNLOADS.name,),
}


def check(kind: str, name: str, where: str) -> None:
    """Raise UserError, beginning with `where`, unless a name is possible for this kind.

    `kind`: `tasks`, `recipes`, `presets`, ...
    """
    if not re.fullmatch(PATTERN, name):
        raise UserError(f"{where}: `{name}` cannot be the name of a {kind.rstrip('s')}: {RULE}")
    if name in TAKEN.get(kind, ()):
        raise UserError(
            f"{where}: a {kind.rstrip('s')} cannot be called `{name}`: {paths.RESULTS} has a folder of this "
            "name for all runs"
        )
