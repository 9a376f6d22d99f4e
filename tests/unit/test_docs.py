"""docs/configuration.md says everything the schemas say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nmtprune.chain import FAMILIES
from nmtprune.config import WORKFLOW
from nmtprune.reporting.docs import PARTS, configuration_page

PAGE = configuration_page()
ROWS = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if line.startswith("| `")}


def test_the_page_in_the_repository_is_current():
    written = Path(__file__).parents[2] / "docs" / "configuration.md"
    assert written.read_text(encoding="utf-8") == PAGE, "run `make docs`"


def test_every_schema_has_its_part():
    assert {file.name.removesuffix(".schema.json") for file in (WORKFLOW / "schemas").glob("*.json")} == set(PARTS)


@pytest.mark.parametrize("schema", sorted(PARTS))
def test_every_key_at_the_top_of_a_schema_is_on_the_page(schema):
    value = json.loads((WORKFLOW / "schemas" / f"{schema}.schema.json").read_text(encoding="utf-8"))
    keys = (value if "properties" in value else value["$defs"]["keys"])["properties"]
    missing = [key for key in keys if f"| `{key}`" not in PAGE]
    assert missing == []


@pytest.mark.parametrize(
    ("key", "kind", "default"),
    [
        ("`device`", "`auto`, `cpu`, `cuda`", '`"auto"`'),
        ("`imports.<name>.checkpoint`*", "string", ""),
        ("`train[].toy.sentences`*", "integer ≥ 1", ""),
        ("`cleaning.max_words`", "integer or null ≥ 1", "`null`"),
        ("`learning_rate.phases[].rate`*", "number > 0 or string", ""),
        ("`dev`", "mapping or as `train`", ""),
        ("`character_coverage`", "number > 0.9, ≤ 1", "`1`"),
    ],
)
def test_a_nested_key_has_its_type_and_its_default(key, kind, default):
    assert [cell.strip() for cell in ROWS[key].split("|")[2:4]] == [kind, default]


def test_every_key_is_described():
    assert [key for key, line in ROWS.items() if line.endswith("|  |")] == []


def test_every_step_is_in_the_table_of_steps():
    assert all(f"| `{family.usage.replace('|', chr(92) + '|')}` |" in PAGE for family in FAMILIES.values())
