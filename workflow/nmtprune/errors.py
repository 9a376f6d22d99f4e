"""Errors written for the person who made the mistake."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_ENDLESS = re.compile(r"(\S{80})\S{1000,}")


class UserError(Exception):
    """One sentence that names the setting, its value and the valid choices, or several. The command line prints each on a line, without a
    traceback, whatever the value holds."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(_ENDLESS.sub(r"\1 ...", _LINE_ENDS.sub(" ", sentence)) for sentence in sentences))


def suggest(name: str, valid: Iterable[str]) -> str:
    """`did you mean `x`?` when a valid name is near, otherwise the list of valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"valid: {', '.join(names)}" if names else "there are none"
