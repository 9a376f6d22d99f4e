"""The JSON schemas of all YAML files, with kinds of items and metrics taken from the registries.

item.schema.json also contains these for editors, as `make docs` writes it.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.metrics import METRICS

FOLDER = Path(__file__).resolve().parents[2] / "schemas"
ITEM = "item"


def read(name: str) -> dict[str, Any]:
    """A schema by its name, such as `item`."""
    schema = json.loads(_file(name).read_text(encoding="utf-8"))
    if name == ITEM:
        schema["allOf"] = _required_keys()
        schema["properties"]["kind"] = _kinds()
        schema["properties"]["columns"]["items"]["properties"]["metric"] = _metrics()
    return schema


def part(pointer: str) -> dict[str, Any]:
    """A part of a schema: `recipe#/properties/lasso` describes the key `lasso` of a recipe."""
    name, _, path = pointer.partition("#/")
    value: Any = read(name)
    for key in filter(None, path.split("/")):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


@functools.cache
def defaults(pointer: str) -> dict[str, Any]:
    """The defaults of the keys that a part of a schema describes; keys without a default are left out."""
    properties = part(pointer)["properties"]
    return {key: value["default"] for key, value in properties.items() if "default" in value}


def by_file() -> dict[str, dict[str, Any]]:
    """All schemas by the names of their files, by which they refer to each other."""
    return {file.name: read(file.name.removesuffix(".schema.json")) for file in FOLDER.glob("*.schema.json")}


def item_file() -> str:
    """The text of item.schema.json with the current contents of the registries."""
    text = _file(ITEM).read_text(encoding="utf-8")
    required = ",\n".join(f"    {_json(each)}" for each in _required_keys())
    text = re.sub(
        r'^  "allOf": \[$.*?^  \],$',
        lambda _: f'  "allOf": [\n{required}\n  ],',
        text,
        count=1,
        flags=re.M | re.S,
    )
    text = re.sub(
        r'^    "kind": .*,$', lambda _: f'    "kind": {_json(_kinds())},', text, count=1, flags=re.M
    )
    return re.sub(
        r'^          "metric": .*,$',
        lambda _: f'          "metric": {_json(_metrics())},',
        text,
        count=1,
        flags=re.M,
    )


def _file(name: str) -> Path:
    return FOLDER / f"{name}.schema.json"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _kinds() -> dict[str, Any]:
    """The key `kind` of a table or figure."""
    said = "; ".join(f"`{kind.name}`: {kind.about}" for kind in ITEM_KINDS.values())
    return {"enum": list(ITEM_KINDS), "description": f"How it is shown. {said}."}


def _metrics() -> dict[str, Any]:
    """The key `metric` of a column."""
    said = "; ".join(f"`{metric.name}`: {metric.about}" for metric in METRICS.values())
    ways = (
        "Rows of an item are timed in one engine, with or without a shortlist, in the way that most of "
        "them were."
    )
    return {"enum": list(METRICS), "description": f"The score. {said}. {ways}"}


def _required_keys() -> list[dict[str, Any]]:
    """What each kind of table or figure requires."""
    return [
        {"if": {"properties": {"kind": {"const": kind.name}}}, "then": {"required": list(kind.requires)}}
        for kind in ITEM_KINDS.values()
        if kind.requires
    ]
