"""Every shipped YAML file names its schema in its first line, for completion and checks in editors."""

from __future__ import annotations

import re

import pytest
from support.workplace import REPOSITORY

from nmtprune.data.example import EXAMPLE, write
from nmtprune.experiment import config
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.validation import validate

FOLDERS = {"tasks": "task", "recipes": "recipe", "presets": "preset"}  # and the schema of what lies in them
FIRST_LINE = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
SHIPPED = [
    REPOSITORY / "config.yaml",
    *(file for folder in FOLDERS for file in sorted((WORKFLOW / folder).rglob("*.yaml"))),
    *sorted((WORKFLOW / "papers").glob("*/*.yaml")),
    *sorted(EXAMPLE.rglob("*.yaml")),
]


def schema_of(file):
    """The schema that the code checks a file against."""
    if file.name == "config.yaml":
        return "config"
    of_folder = next(
        (
            schema
            for folder, schema in FOLDERS.items()
            if folder in (file.parent.name, file.parent.parent.name)
        ),
        None,
    )
    return of_folder or ("paper" if file.name == "paper.yaml" else "item")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_a_shipped_file_names_the_schema_that_it_is_checked_against(file):
    named = FIRST_LINE.match(file.read_text(encoding="utf-8"))
    assert (
        named
        and (file.parent / named[1]).resolve() == WORKFLOW / "schemas" / f"{schema_of(file)}.schema.json"
    )


def test_init_writes_the_example_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = EXAMPLE.relative_to(REPOSITORY)
    write(folder, config.from_settings({}))
    written = {file.relative_to(folder): file for file in folder.rglob("*.yaml")}
    assert written.keys() == {file.relative_to(EXAMPLE) for file in EXAMPLE.rglob("*.yaml")}
    for name, file in written.items():
        text = file.read_text(encoding="utf-8")
        assert FIRST_LINE.sub("", text) == FIRST_LINE.sub("", (EXAMPLE / name).read_text(encoding="utf-8"))
        schema = (file.parent / FIRST_LINE.match(text)[1]).resolve()
        assert schema == WORKFLOW / "schemas" / f"{schema_of(file)}.schema.json"
        validate(read_yaml(file), schema_of(file), str(name))


def test_a_folder_that_looks_like_a_number_gives_the_run_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "2026", config.from_settings({}))
    assert read_yaml(tmp_path / "2026" / "config.yaml")["name"] == "2026"
