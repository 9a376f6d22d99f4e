"""Generated pages of docs/ agree with schemas and registries; commands in other pages are valid."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from snakemake.cli import parse_args
from support.workplace import REPOSITORY

from nmtprune.cli import verbs
from nmtprune.experiment import schemas
from nmtprune.experiment.chain import parse
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.components import KINDS
from nmtprune.experiment.config import from_settings
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.paths import chain_text
from nmtprune.experiment.step_kinds import GROUPS, INT8_ENGINES, SCHEMES, WHERE
from nmtprune.reporting.reference_docs import PARTS, chains_page, configuration_page

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
WRITTEN = [page for page in PAGES if page.name != "configuration.md"]
PAGE, CHAINS = configuration_page(), chains_page()
ROWS = {line.split("|")[1].strip(): line for line in PAGE.splitlines() if line.startswith("| `")}


@pytest.mark.parametrize(("name", "page"), [("configuration.md", PAGE), ("chains.md", CHAINS)])
def test_the_page_in_the_repository_is_current(name, page):
    assert (REPOSITORY / "docs" / name).read_text(encoding="utf-8") == page, "run `make docs`"


def test_the_schema_in_the_repository_says_what_the_registries_say():
    file = WORKFLOW / "schemas" / "item.schema.json"
    assert json.loads(file.read_text(encoding="utf-8")) == schemas.read("item"), "run `make docs`"
    assert file.read_text(encoding="utf-8") == schemas.item_file(), "run `make docs`"


def test_the_verb_writes_both_pages_and_the_schema(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verbs.write_docs(None, None)
    written = {
        file.relative_to(tmp_path).as_posix(): file.read_text(encoding="utf-8")
        for file in tmp_path.rglob("*.*")
    }
    assert written == {
        "docs/configuration.md": PAGE,
        "docs/chains.md": CHAINS,
        "workflow/schemas/item.schema.json": schemas.item_file(),
    }


def test_every_schema_has_its_part():
    assert {file.name.removesuffix(".schema.json") for file in (WORKFLOW / "schemas").glob("*.json")} == set(
        PARTS
    )


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
        ("`imports.<name>.checkpoint`", "string", ""),
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


@pytest.mark.parametrize("argument", [*SCHEMES, *GROUPS, *WHERE, *INT8_ENGINES, *KINDS])
def test_every_argument_of_a_step_is_explained(argument):
    assert re.search(rf"`([ED]\.)?{re.escape(argument.split('.')[-1])}`", CHAINS)


def documented(pattern):
    """What the pages that people write say of this form."""
    return sorted(
        {
            " ".join(text.split())
            for page in WRITTEN
            for text in re.findall(pattern, page.read_text(encoding="utf-8"))
        }
    )


@pytest.mark.parametrize("command", documented(r"python -m nmtprune ([^`#\n]*)"))
def test_a_documented_command_is_understood(command):
    assert verbs._parser().parse_args(shlex.split(command)).verb in verbs.VERBS


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
    stated = [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in (WORKFLOW / "papers").glob("*/paper.yaml")
    ]
    assert known == {
        paper["title"]: (paper["authors"], paper["where"]) for paper in stated if "pages" in paper["where"]
    }


def test_documented_chains_of_shipped_tasks_are_valid():
    config = from_settings({})
    known = [
        text
        for text in documented(r"\b([a-z0-9-]+/[a-z0-9-]+/s\d+/[\w/.+-]*\w)")
        if text.split("/")[0] in config.library.names("tasks")
    ]
    assert known
    for text in known:
        check_chain(config, parse(chain_text(text)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_what_a_page_links_to_is_there(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    linked = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", text)
    targets = [
        target for pair in linked for target in pair if target and not re.match(r"https?://|mailto:", target)
    ]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []
    for target in targets:
        path, _, part = target.partition("#")
        assert not part or part in anchors(page.parent / path if path else page), target


def anchors(page):
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_index():
    docs = REPOSITORY / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    unlisted = {"index.md", "performance.md"}  # the second is written by `make bench`, if it is
    pages = {file.relative_to(docs).as_posix() for file in docs.rglob("*.md")} - unlisted
    assert [page for page in sorted(pages) if f"]({page})" not in index] == []
