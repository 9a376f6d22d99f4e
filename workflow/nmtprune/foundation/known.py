"""Values that may be None in general and are not here."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


def known(value: Value | None) -> Value:
    """Return the value itself.

    Raises TypeError for None: the caller has made sure of a value, which a type checker cannot see.
    """
    if value is None:
        raise TypeError("a value that should be known here is None")
    return value
