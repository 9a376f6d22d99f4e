"""Errors written for the person who made the mistake."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable

FULL = (errno.ENOSPC, errno.EDQUOT)  # error numbers of a full disk
_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_ENDLESS = re.compile(r"(\S{80})\S{1000,}")


class UserError(Exception):
    """A mistake of the user, in one sentence or several: the setting, its value and the valid choices.

    The command line prints each sentence on one line, without a traceback; line breaks in values become
    spaces, and overlong words are cut.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(
            "\n".join(_ENDLESS.sub(r"\1 ...", _LINE_ENDS.sub(" ", sentence)) for sentence in sentences)
        )


def sentence_of(error: OSError) -> str:
    """An error of the system as a sentence: the file, the reason, and what to do about a full disk.

    An error without a file is one of the standard output.
    """
    hint = ": free some space; the same command then continues where this one ended" * (error.errno in FULL)
    return f"{error.filename or 'what this command prints'}: {error.strerror or error}{hint}"


def behind(error: BaseException) -> OSError | None:
    """The OSError behind an error: itself, one of its group, or its context; None if there is none."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(behind, error.exceptions)), None)
    return behind(error.__context__) if error.__context__ else None


def suggest(name: str, valid: Iterable[str]) -> str:
    """`did you mean `x`?` if a valid name is similar, otherwise the list of valid names."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"valid: {', '.join(names)}" if names else "there are none"
