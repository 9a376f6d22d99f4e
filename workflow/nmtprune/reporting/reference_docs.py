"""Pages of docs/ that are generated from schemas and registries.

configuration.md lists every key of every YAML file; chains.md every kind of step and of analysis.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nmtprune.experiment import schemas
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS, AnalysisKind
from nmtprune.experiment.step_kinds import DENSE, INT8, SLICED, SPARSE, STEP_KINDS, StepKind

# The parts of the page in reading order: the schema, and where its keys are written.
PARTS = {
    "config": "`config.yaml`, and `snakemake --config key=value`",
    "preset": "`workflow/presets/<preset>.yaml`",
    "task": "`workflow/tasks/<task>.yaml`, or `tasks/` in the folder that `own` names",
    "recipe": "`<recipe>.yaml` below `workflow/recipes`, or below `recipes/` in the folder that `own` "
    "names; or under `variants` in such a file",
    "subwords": "`subwords` of a recipe",
    "schedule": "each entry of a recipe's `schedules`; its `training` holds their defaults",
    "paper": "`workflow/papers/<paper>/paper.yaml`",
    "item": "`workflow/papers/<paper>/<table or figure>.yaml`",
}
CONFIGURATION = """# Configuration

Generated from `workflow/schemas` by `make docs`.

This page lists every key of every YAML file. An unknown key or a value of the wrong type is an error,
reported before the first job starts. Files, and the values of `--config` and `--set`, are read as YAML 1.2:
`true` and `false` are the only truth values (`no` is a word), `1e-4` is a number, and keys are text (a test
set may be called 2016). A key that is written twice is an error. Titles and paths may contain any character.
Names of tasks, recipes, presets and schedules become folder names and words of shell commands: they have at
most 60 letters, digits and . _ + -, and begin with a letter, a digit or _.

In the tables, `a.b` is the key `b` under `a`, `a[].b` is a key of every entry of a list, and `a.<name>.b` is
a key of every entry whose name you choose. Required keys are marked with *.
"""
CHAINS = """# Chains

Generated from `workflow/nmtprune/experiment/step_kinds.py` and
`workflow/nmtprune/experiment/analysis_kinds.py` by `make docs`.

A model is named by the chain of steps that made it. The chain is the model's address, and its directory under
`results/models`:

```
<task>/<recipe>/s<seed>/<step>/<step>/...
toy/toy/s1/train/prune-local-50/retrain
```

The first address is the pattern, the second an example: the toy Transformer of seed 1, trained on the task
`toy`, pruned by 50 %, and retrained. Each step takes the model to its left and makes a new one. Chains that
begin alike share the models of their common beginning: each is made once. Any model can be asked for by its
address:

```bash
snakemake --cores all results/models/toy/toy/s1/train/prune-global-40/retrain/scores.csv
```

Every step leaves a model in one of four forms, and may follow only some of them; any other chain is refused
before the first job.

| form | what it is |
|---|---|
"""
FORMS = {
    DENSE: "all weights are free, in the shape that the recipe gives",
    SPARSE: "a mask holds some weights at exactly zero; the matrices are as large as before",
    SLICED: "dense, in a smaller shape of its own",
    INT8: "its weights are rounded to 8 bits, and one engine runs it",
}
ARGUMENTS = """
Arguments, as steps spell them:

- `<schedule>` names another schedule of the recipe: `continue-short` follows `schedules.continue-short`, and
  plain `continue` follows `schedules.continue`.
- `<percent>` is written 50 or 12.5. For `prune` it is a share of all prunable weights of the model, those
  that are pruned already included: `prune-local-50` after `prune-local-50` still leaves half. Prunable are
  matrices, never biases and layer norms; the recipe's `prunable` says whether embeddings are. For `at` it is
  a share of the training's updates, one of the `snapshots` of its schedule.
- `<scheme>` says among which weights magnitudes are compared: `global`, among all (class-blind); `uniform`,
  within each weight class; `distribution`, among all, each in standard deviations of its class; `local`,
  within each matrix; `layer`, within each layer.
- `<class>` is one weight class, such as `attention` or `source_layer_1`.
- `<groups>` are the groups of weights that the lasso shrinks together: `ffn`, the rows and columns of hidden
  units of feed-forward layers; `ffn+att`, also rows and columns of attention matrices; `ffn+heads`, also
  whole heads; `blocks8`, blocks of 8 x 8 weights.
- `<where>` is `enc`, `dec` or `both`: the encoder, the decoder, or both.
- `<lambda>` is the strength of the lasso, written 1 or 0.15; or `to67`, which seeks the strength at which 67
  % of the hidden units are removed.
- `<component>` is a residual sub-layer: `D.SA.1` is the self-attention of the decoder's first layer. Sides
  are `E` and `D`; sub-layers are `SA` (self-attention), `EA` (the decoder's attention to the encoder) and
  `FF` (feed-forward).
- `<k>` is a number of components. They are taken in the order of iterative ablation (the analysis `order` of
  the parent).
- `<engine>` is `ctranslate2` or `onnx`.
"""
ANALYSES = """
## Analyses

An analysis looks inside one model; its numbers are written beside the model:

```bash
snakemake --cores all results/models/toy/toy/s1/train/weights.csv
```

| analysis | what it looks at | reads first |
|---|---|---|
"""
Schema = Mapping[str, Any]


def configuration_page() -> str:
    """docs/configuration.md: every key of every YAML file, as Markdown."""
    by_file = schemas.by_file()
    parts = [CONFIGURATION]
    for name, where in PARTS.items():
        schema = by_file[f"{name}.schema.json"]
        rows = "\n".join(map(str, _File(schema, by_file).keys()))
        about = f"{schema['description']} " if "description" in schema else ""
        parts.append(
            f"## {schema['title']}\n\n{about}In {where}.\n\n| key | type | default | what it is "
            f"|\n|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def chains_page() -> str:
    """docs/chains.md: the kinds of steps and of analyses, as Markdown."""
    forms = "\n".join(f"| {form} | {about} |" for form, about in FORMS.items())
    steps = "\n".join(map(_step, STEP_KINDS.values()))
    transformers = _listed((f"`{kind.name}`" for kind in STEP_KINDS.values() if kind.of_transformers), "and")
    analyses = "\n".join(map(_analysis, ANALYSIS_KINDS.values()))
    return (
        f"{CHAINS}{forms}\n\n| step | what it does | follows | leaves "
        f"|\n|---|---|---|---|\n{steps}\n{ARGUMENTS}\n"
        f"The steps {transformers} need a Transformer.\n{ANALYSES}{analyses}\n"
    )


def _step(kind: StepKind) -> str:
    """The row of a kind of step."""
    follows = (
        "a step that trains" if kind.snapshot else _listed(kind.follows, "or") or "nothing: it begins a chain"
    )
    return f"| `{_cell(kind.usage)}` | {kind.about} | {follows} | {kind.leaves or 'the form it follows'} |"


def _listed(words: Iterable[str], last: str) -> str:
    """Words joined by commas, with `or` or `and` before the last."""
    *others, end = list(words) or [""]
    return f"{', '.join(others)} {last} {end}" if others else end


def _analysis(kind: AnalysisKind) -> str:
    """The row of an analysis."""
    return f"| `{kind.name}` | {kind.about} | {', '.join(f'`{name}`' for name in kind.needs)} |"


@dataclass(frozen=True)
class Key:
    """A key as the page shows it.

    `name`: the path of the key from the top of its file; `kind`: the type of its value in words.
    """

    name: str
    required: bool
    kind: str
    schema: Schema

    def __str__(self) -> str:
        default = f"`{json.dumps(self.schema['default'])}`" if "default" in self.schema else ""
        about = self.schema.get("description", "")
        return (
            f"| `{self.name}`{'*' if self.required else ''} | {_cell(self.kind)} | {default} | "
            f"{_cell(about)} |"
        )


class _File:
    """The keys of one schema; definitions of other schemas are left out, since the page has them already."""

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
        """The keys inside a value: those of a mapping, of a list's entries, and of each alternative."""
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
        """The schema that a `$ref` points at, overridden by the keywords beside the `$ref`."""
        if "$ref" not in schema:
            return schema
        file, _, pointer = schema["$ref"].partition("#")
        target = self.schemas[file] if file else self.schema
        for part in pointer.split("/")[1:]:
            target = target[part]
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}

    def _kind(self, schema: Schema) -> str:
        """The type of a value in words, with its limits."""
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
            words = sorted(
                dict.fromkeys(filter(None, map(self._kind, _alternatives(schema)))),
                key=lambda kind: kind.startswith("list"),
            )
        limits = [f"{sign} {schema[word]}" for word, sign in _LIMITS.items() if word in schema]
        return " ".join([" or ".join(words), ", ".join(limits)]).strip()


_WORDS = {"object": "mapping", "array": "list"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _alternatives(schema: Schema) -> list[Schema]:
    """The alternative forms of a value; for an `if` on the type alone, the `then` gets that type."""
    then = [{**schema["if"], **schema["then"]}] if "then" in schema and "type" in schema.get("if", {}) else []
    untyped = [each for each in schema.get("oneOf", ()) if set(each) != {"required"}]
    return [*untyped, *then, *([schema["else"]] if "else" in schema else [])]


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
