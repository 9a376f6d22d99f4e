"""docs/configuration.md: every key of every YAML file, made from the JSON schemas, and the table of steps."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nmtprune.chain import FAMILIES, GROUPS, INITIALISATIONS, INT8_ENGINES, SCHEMES, WHERE
from nmtprune.config import WORKFLOW

# The page's parts in reading order: schema, and where its keys stand.
PARTS = {
    "config": "`config.yaml`, and `snakemake --config key=value`",
    "preset": "`workflow/presets/<preset>.yaml`",
    "task": "`workflow/tasks/<task>.yaml`, or `tasks/` in the folder that `own` names",
    "recipe": "`workflow/recipes/<recipe>.yaml`, or `recipes/` in the folder that `own` names",
    "subwords": "`subwords` of a recipe",
    "schedule": "each entry of a recipe's `schedules`; its `training` holds their defaults",
    "paper": "`workflow/papers/<paper>/paper.yaml`",
    "item": "`workflow/papers/<paper>/<table or figure>.yaml`",
}
HEAD = """# Configuration

Made from `workflow/schemas` by `make docs`. Unknown keys and wrong types are errors, found before the first job starts.
Files and values of `--config` and `--set` are YAML 1.2: `true` and `false` are the only truth values (`no` is a word), `1e-4` is a number,
keys are text (a test set may be called 2016), and a key that is written twice is an error. Titles and paths may hold any character. The
names of tasks, recipes, presets and schedules become folders and words of shell lines: at most 60 letters, digits and . _ + -, a letter,
digit or _ first.
In the tables `a.b` is the key `b` under `a`, `a[].b` a key of every entry of a list, and `a.<name>.b` a key of every entry that is
named at will; a required key is marked with *.
"""
Schema = Mapping[str, Any]


def configuration_page() -> str:
    """The whole page as Markdown."""
    schemas = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in (WORKFLOW / "schemas").glob("*.json")}
    parts = [HEAD]
    for name, where in PARTS.items():
        schema = schemas[f"{name}.schema.json"]
        rows = "\n".join(map(str, _File(schema, schemas).keys()))
        about = f"{schema['description']} " if "description" in schema else ""
        parts.append(f"## {schema['title']}\n\n{about}In {where}.\n\n| key | type | default | what it is |\n|---|---|---|---|\n{rows}\n")
    return "\n".join([*parts, _steps()])


@dataclass(frozen=True)
class Key:
    """A key as the page shows it; `name` is its path from the top of its file."""

    name: str
    required: bool
    kind: str
    schema: Schema

    def __str__(self) -> str:
        default = f"`{json.dumps(self.schema['default'])}`" if "default" in self.schema else ""
        about = self.schema.get("description", "")
        return f"| `{self.name}`{'*' if self.required else ''} | {_cell(self.kind)} | {default} | {_cell(about)} |"


class _File:
    """The keys of one schema. What another schema defines has a part of its own on the page, and is not repeated."""

    def __init__(self, schema: Schema, schemas: Mapping[str, Schema]) -> None:
        self.schema, self.schemas = schema, schemas
        self.shown: dict[str, str] = {}  # definition -> the first key whose value it describes

    def keys(self) -> Iterator[Key]:
        return self._keys(self._resolved(self.schema), "")

    def _keys(self, schema: Schema, above: str) -> Iterator[Key]:
        for name, below in schema.get("properties", {}).items():
            path = f"{above}{name}"
            yield Key(path, name in schema.get("required", ()), self._kind(below), self._resolved(below))
            yield from self._below(below, path)

    def _below(self, schema: Schema, path: str) -> Iterator[Key]:
        """The keys inside a value: of a mapping, of the entries of a list, of each alternative."""
        reference = schema.get("$ref", "")
        if reference and (not reference.startswith("#") or reference in self.shown):
            return
        if reference:
            self.shown[reference] = path
        schema = self._resolved(schema)
        yield from self._keys(schema, f"{path}.")
        if "items" in schema:
            yield from self._below(schema["items"], f"{path}[]")
        if schema.get("additionalProperties"):
            yield from self._below(schema["additionalProperties"], f"{path}.<name>")
        for alternative in _alternatives(schema):
            yield from self._below(alternative, path)

    def _resolved(self, schema: Schema) -> Schema:
        """What a `$ref` points at, under the keywords beside it."""
        if "$ref" not in schema:
            return schema
        file, _, pointer = schema["$ref"].partition("#")
        target = self.schemas[file] if file else self.schema
        for part in pointer.split("/")[1:]:
            target = target[part]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}

    def _kind(self, schema: Schema) -> str:
        """A value's type in words, with its limits."""
        if schema.get("$ref") in self.shown and "items" in self._resolved(schema):
            return f"as `{self.shown[schema['$ref']]}`"
        schema = self._resolved(schema)
        if "enum" in schema:
            return ", ".join(f"`{value}`" for value in schema["enum"])
        kinds = schema.get("type", ())
        words = [_WORDS.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        if "items" in schema and (entry := self._kind(schema["items"])):
            words[0] = f"list of {entry}"
        if not kinds:
            words = sorted(dict.fromkeys(filter(None, map(self._kind, _alternatives(schema)))), key=lambda kind: kind.startswith("list"))
        limits = [f"{sign} {schema[word]}" for word, sign in _LIMITS.items() if word in schema]
        return " ".join([" or ".join(words), ", ".join(limits)]).strip()


_WORDS = {"object": "mapping", "array": "list"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _alternatives(schema: Schema) -> list[Schema]:
    """The forms a value may have. An `if` on the type alone says the type of its `then`."""
    then = [{**schema["if"], **schema["then"]}] if "then" in schema and "type" in schema.get("if", {}) else []
    untyped = [each for each in schema.get("oneOf", ()) if set(each) != {"required"}]
    return [*untyped, *then, *([schema["else"]] if "else" in schema else [])]


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _steps() -> str:
    """The grammar of chains as `chain.FAMILIES` holds it."""
    rows = []
    for family in FAMILIES.values():
        follows = " or ".join(f"a {state} model" for state in family.follows) or "nothing: it begins a chain"
        if family.name == "at":
            follows = "a step that trains"
        leaves = f"a {family.leaves} model" if family.leaves else "what it follows"
        rows.append(f"| `{_cell(family.usage)}` | {follows} | {leaves} |")
    return "\n".join(
        [
            "## Chains",
            "",
            "A model's address is `<task>/<recipe>/s<seed>/<step>/<step>/...`, as in `toy/toy/s1/train/prune-local-50/retrain`. A sparse",
            "model has a mask that training keeps; a sliced one is dense, in a shape of its own; a quantised one is run in 8 bits by its",
            "engine.",
            "",
            "| step | follows | leaves |",
            "|---|---|---|",
            *rows,
            "",
            f"Groups: {_listed(GROUPS)}: feed-forward units; also connections of attention, or whole heads; blocks of 8 x 8. "
            f"Where: {_listed(WHERE)}. "
            "Lambda: a number written 1 or 0.15, or `to67`, which seeks the one that leads to a sparsity of 67 %. "
            f"Engines: {_listed(INT8_ENGINES)}. "
            f"Schemes: {_listed(SCHEMES)}. Freed weights begin at: "
            f"{_listed(INITIALISATIONS)}. Percentages are of all prunable weights, written 50 or 12.5.",
            "",
        ]
    )
