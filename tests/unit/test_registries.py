"""Registries of kinds: every entry has what it promises, and one file and one entry add another."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml
from conftest import MICRO, REPOSITORY

from nmtprune.experiment import config, item_kinds, papers, paths, schemas
from nmtprune.experiment.item_kinds import FIGURE, ITEM_KINDS, TABLE, ItemKind
from nmtprune.reporting import reference_docs
from nmtprune.reporting.render import render
from nmtprune.reporting.rendition import Made, Table

WRITTEN = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
MODEL = "micro/micro/s1/train"


def module(monkeypatch, name: str, **functions) -> None:
    """Place a module in the package for the length of a test."""
    placed = ModuleType(name)
    vars(placed).update(functions)
    monkeypatch.setitem(sys.modules, name, placed)


@pytest.fixture
def fresh_schemas():
    """Schemas are read anew after a test has entered something, and again after it."""
    config._validator.cache_clear()
    yield
    config._validator.cache_clear()


@pytest.fixture
def run(tmp_path, monkeypatch, fresh_schemas):
    """A run of one table or figure of a paper of the user's own, with one row, of one model."""

    def settings(**stated) -> config.Config:
        own = tmp_path / "own"
        for kind in ("recipes", "tasks", "presets"):
            (own / kind).parent.mkdir(exist_ok=True)
            (own / kind).symlink_to(MICRO / kind)
        row = {"label": "dense", "task": "micro", "recipe": "micro", "chain": "train"}
        about = {"title": "Mine", "short": "Mine", "authors": "I", "where": "here", "items": ["shown"]}
        names = {"tasks": {"micro": "Micro"}, "recipes": {"micro": "Micro"}}
        item = {"title": "Made up", "caption": "Made up.", "rows": [row], **stated}
        (own / "papers" / "mine").mkdir(parents=True)
        (own / "papers" / "mine" / "paper.yaml").write_text(yaml.safe_dump(about | names))
        (own / "papers" / "mine" / "shown.yaml").write_text(yaml.safe_dump(item))
        monkeypatch.chdir(tmp_path)
        return config.from_settings({"preset": "micro", "own": str(own), "papers": ["mine"], "name": "registries"})

    return settings


# --- kinds of tables and figures


@pytest.mark.parametrize("kind", ITEM_KINDS.values(), ids=ITEM_KINDS)
def test_every_kind_of_item_has_a_module_that_makes_it_and_is_in_the_docs(kind):
    assert callable(import_module(f"nmtprune.reporting.kinds.{kind.name}").make)
    assert f"`{kind.name}`: {kind.about}" in WRITTEN
    assert {"csv", "rst"} <= set(kind.files) and kind.page_file in kind.files and kind.report_file in kind.files


def test_every_module_of_a_kind_of_item_has_an_entry():
    folder = Path(import_module("nmtprune.reporting.kinds").__file__).parent
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == set(ITEM_KINDS)


@pytest.mark.parametrize("kind", ITEM_KINDS.values(), ids=ITEM_KINDS)
def test_an_item_without_a_key_that_its_kind_requires_is_refused(kind, fresh_schemas):
    row = {"label": "dense", "task": "micro", "recipe": "micro", "chain": "train"}
    item = {"title": "Made up", "kind": kind.name, "caption": "Made up.", "rows": [row]}
    if not kind.requires:
        config.validate(item, "item", "mine/shown")
        return
    with pytest.raises(config.UserError) as refused:
        config.validate(item, "item", "mine/shown")
    assert all(f"the key `{key}` is missing" in str(refused.value) for key in kind.requires[:1])


def test_one_module_and_one_entry_add_a_kind_of_figure(run, monkeypatch):
    def make(item, measured):
        missing = [measured.missing(row.first, item.reads) for row in item.rows]
        numbers = pd.DataFrame({"label": [row.label for row in item.rows], "missing": missing})
        return Made(numbers, [], table=Table(["model"], ["name"], [[row.label] for row in item.rows], [], frozenset()))

    module(monkeypatch, "nmtprune.reporting.kinds.dummy", make=make)
    dummy = ItemKind("dummy", "a dummy", TABLE, reads=("weights",), requires=("widths",), over_seeds="Of seeds {seeds}.")
    monkeypatch.setitem(item_kinds.ITEM_KINDS, "dummy", dummy)
    made = run(kind="dummy", widths=["ffn"])
    (item,) = papers.items(made)
    assert papers.reads(made, item) == {paths.analysis(item.rows[0].first, "weights")}
    written = {file.suffix for file in render(made) if file.stem == "shown"}
    assert written == {f".{extension}" for extension in TABLE}
    assert MODEL in pd.read_csv(paths.item("registries", "mine", "shown", "csv"))["missing"][0]
    assert papers.report_entries(made)[0][0].suffix == ".csv"
    assert "`dummy`: a dummy" in reference_docs.configuration_page()
    kinds = json.loads(schemas.item_file())["properties"]["kind"]
    assert kinds["enum"][-1] == "dummy"


def test_an_unknown_kind_is_told_with_the_nearest_one(run):
    with pytest.raises(config.UserError, match="did you mean `table`"):
        papers.items(run(kind="tabel"))


def test_a_figure_is_seen_as_a_picture_and_a_table_as_text():
    assert (ITEM_KINDS["lines"].files, ITEM_KINDS["lines"].page_file, ITEM_KINDS["lines"].report_file) == (FIGURE, "png", "svg")
    assert (ITEM_KINDS["table"].files, ITEM_KINDS["table"].page_file, ITEM_KINDS["table"].report_file) == (TABLE, "md", "csv")
