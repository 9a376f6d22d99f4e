"""Validate YAML files against the JSON schemas, and explain each mistake in one sentence."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from nmtprune.experiment import names, schemas
from nmtprune.foundation.errors import UserError, suggest

LONGEST_SHOWN = 80  # most characters of a value in a message


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend
    from referencing import Registry, Resource

    resources = [(file, Resource.from_contents(schema)) for file, schema in schemas.by_file().items()]
    types = Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    )
    return extend(Draft202012Validator, {"pattern": _pattern}, type_checker=types)(
        schemas.read(name), registry=Registry().with_resources(resources)
    )


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:
    """The keyword `pattern` of JSON Schema; `$` matches only at the end of the text.

    In Python it would also match before a last newline.
    """
    from jsonschema import ValidationError

    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield ValidationError(f"{json.dumps(value, ensure_ascii=False)} does not match {pattern}")


def _alternatives(error: Any) -> bool:
    """Whether an error is about keys that exclude each other."""
    return error.validator == "oneOf" and all(
        set(branch) == {"required"} for branch in error.validator_value[:1]
    )


def _nearest(error: Any) -> Any:
    """For a value that fits no branch of a `oneOf` or `anyOf`, the mistake to report.

    It is in the branch with the fewest errors.
    """
    while error.context and not _alternatives(error):
        branches: dict[Any, list[Any]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        branch = min(branches.values(), key=lambda errors: (len(errors), errors[0].validator == "type"))
        error = min(branch, key=lambda e: (e.validator != "additionalProperties", e.validator == "required"))
    return error


def _explain(error: Any, where: str) -> str:
    """One sentence for one schema error: where, what, and what would be valid."""
    error = _nearest(error)
    at = ".".join(str(part) for part in error.absolute_path)
    where = f"{where}: {at}" if at else where
    value = _shown(error.instance)
    match error.validator:
        case "additionalProperties" | "unevaluatedProperties":
            valid = error.schema.get("properties", {})
            unknown = next((key for key in error.instance if key not in valid), "?")
            return f"{where}: unknown key `{unknown}`; {suggest(unknown, valid)}"
        case "enum":
            valid = list(map(str, error.validator_value))
            return f"{where}: {value} is not one of {', '.join(valid)}; {suggest(str(error.instance), valid)}"
        case "type":
            kinds = (
                error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            )
            return f"{where}: {value} is of the wrong type; expected {' or '.join(kinds)}"
        case "required":
            missing = next(key for key in error.validator_value if key not in error.instance)
            return f"{where}: the key `{missing}` is missing"
        case "oneOf" if _alternatives(error):
            valid = ", ".join(dict.fromkeys(branch["required"][0] for branch in error.validator_value))
            return f"{where}: exactly one of the keys {valid} is needed"
        case "not" if "description" in error.schema:
            return f"{where}: {error.schema['description']}"
        case "pattern" if error.validator_value == names.PATTERN:
            return f"{where}: {value} cannot be a name: {names.RULE}"
        case "pattern":
            return f"{where}: {value} is not of the form {error.validator_value}"
        case _:
            said = error.message.removeprefix(repr(error.instance)).strip()
            return f"{where}: {value} {said}"


def _shown(value: Any) -> str:
    """A value as shown in messages, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ..."


def validate(value: Any, schema: str, where: str) -> None:
    """Check a value against schemas/<schema>.schema.json; raises UserError with a line for each mistake."""
    errors = sorted(_validator(schema).iter_errors(value), key=lambda e: list(map(str, e.absolute_path)))
    if errors:
        raise UserError(*dict.fromkeys(_explain(error, where) for error in errors))
