"""Errors written for the person who made the mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One sentence that names the setting, its value and the valid choices. The command line prints it without a traceback."""


def suggest(name: str, valid: Iterable[str]) -> str:
    """`did you mean `x`?` when a valid name is near, otherwise the list of valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"valid: {', '.join(names)}" if names else "there are none"
