"""docs/configuration.md says everything the schemas say, and nothing else; commands in the pages that people write are valid."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args

from nmtprune import cli
from nmtprune.chain import FAMILIES, parse
from nmtprune.config import WORKFLOW, from_settings
from nmtprune.paths import chain_text
from nmtprune.reporting.docs import PARTS, configuration_page

REPOSITORY = Path(__file__).resolve().parents[2]
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


def documented(pattern):
    """What the pages that people write say of this form."""
    pages = [REPOSITORY / "README.md", *(file for file in (REPOSITORY / "docs").glob("*.md") if file.name != "configuration.md")]
    return sorted({" ".join(text.split()) for page in pages for text in re.findall(pattern, page.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("command", documented(r"python -m nmtprune ([^`#\n]*)"))
def test_a_documented_command_is_understood(command):
    assert cli._parser().parse_args(shlex.split(command)).verb in cli.VERBS


@pytest.mark.parametrize("command", documented(r"\bsnakemake (-[^`#\n]*|results/[^`#\n]*)"))
def test_a_documented_run_of_snakemake_is_understood(command, monkeypatch):
    """Slurm's plug-in, which is installed by itself, is tried in tests/cluster."""
    monkeypatch.chdir(REPOSITORY)
    _, arguments = parse_args(shlex.split(command.replace("--workflow-profile profiles/slurm", "")))
    assert all(target == "fetch" or target.startswith("results/") for target in arguments.targets)


def test_documented_scripts_and_targets_of_make_are_there():
    scripts = documented(r"python ([\w/]+\.py)")
    assert scripts and all((REPOSITORY / script).is_file() for script in scripts)
    targets = documented(r"[`\n]make ([a-z]+)[^\n]*[`\n]")
    made = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"demo", "test", "bench"} <= set(targets) <= set(made)


def test_every_paper_is_to_be_cited_with_its_authors_and_pages():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))["references"]
    known = {
        each["title"]: (
            ", ".join(f"{author['given-names']} {author['family-names']}" for author in each["authors"]),
            f"{each['conference']['name']}, pages {each['start']}-{each['end']}",
        )
        for each in cited
    }
    stated = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in (WORKFLOW / "papers").glob("*/paper.yaml")]
    assert known == {paper["title"]: (paper["authors"], paper["where"]) for paper in stated if "pages" in paper["where"]}


def test_documented_chains_of_shipped_tasks_are_valid():
    config = from_settings({})
    known = [text for text in documented(r"\b([a-z0-9-]+/[a-z0-9-]+/s\d+/[\w/.+-]*\w)") if text.split("/")[0] in config.names("tasks")]
    assert known
    for text in known:
        config.check(parse(chain_text(text)))
