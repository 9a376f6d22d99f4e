"""The base of the typed views, which show by attributes what a validated mapping says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from nmtprune.experiment import schemas


@dataclass(frozen=True, kw_only=True)
class View:
    """A mapping that the JSON schema at `SCHEMA` has validated, with an attribute for each of its keys.

    Where the mapping leaves a key out, the attribute has the schema's default, or None if there is none.
    Lists become tuples. The key `from`, a word of Python, is the attribute `from_`. `PARTS` has a function
    for each key whose value is a view of its own. `said` is the mapping itself: identities depend on it
    alone, and so never on a default.
    """

    SCHEMA: ClassVar[str]
    PARTS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}

    said: Mapping[str, Any] = field(compare=False, repr=False)

    @classmethod
    def over(cls, said: Mapping[str, Any] | None) -> Self:
        """The view of a mapping, or of an empty one in place of None."""
        said = said or {}
        given = {**schemas.defaults(cls.SCHEMA), **said}
        names = (each.name for each in fields(cls) if each.name != "said")
        return cls(said=said, **{name: cls._value(key_of(name), given) for name in names})

    @classmethod
    def if_said(cls, said: Mapping[str, Any] | None) -> Self | None:
        """The view of a mapping; None of None."""
        return None if said is None else cls.over(said)

    @classmethod
    def _value(cls, key: str, given: Mapping[str, Any]) -> Any:
        value = given.get(key)
        if key in cls.PARTS:
            return cls.PARTS[key](value)
        return tuple(value) if isinstance(value, list) else value

    @property
    def whole(self) -> dict[str, Any]:
        """The mapping with the schema's defaults filled in."""
        return {**schemas.defaults(self.SCHEMA), **self.said}

    def altered(self, **keys: Any) -> Self:
        """The view of the same mapping with other values of some keys, which nothing validates."""
        return type(self).over({**self.said, **keys})


def key_of(attribute: str) -> str:
    """The key of a mapping that an attribute shows."""
    return attribute.removesuffix("_")
