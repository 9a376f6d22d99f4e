"""The papers' tables and figures with the run's own chains as rows, so that own chains can decide claims."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import yaml

from nmtprune.experiment import own, papers
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.papers import Item, Row
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.run import Run

PAPERS_OWN = WORKFLOW / "presets" / "paper.yaml"  # names the recipe of each of the papers' models


def items(run: Run) -> list[Item]:
    """The papers' tables and figures that the run's own chains give rows for.

    Those that the run makes anyway are left out. A chain gives a row if its steps are those of the paper's
    row, with any values of the row's grid, and its recipe trains the same kind of model. Only tables and
    figures that are read from scores, or from speeds that are measured, are considered.
    """
    if not run.own.chains:
        return []
    made = set(run.selected)
    table = next(item for item in run.items if item.key == f"{own.PAPER}/{own.TABLE}")
    with_own_rows = []
    for paper in papers.names():
        for name in papers.paper(paper)["items"]:
            if (paper, name) not in made and (item := _item(run.config, paper, name, table)):
                with_own_rows.append(item)
    return with_own_rows


def _item(config: Config, paper: str, name: str, table: Item) -> Item | None:
    stated = papers.stated(paper, name)
    item = replace(
        table,
        paper=paper,
        name=name,
        kind=stated["kind"],
        title=stated["title"],
        columns=tuple(papers.Column(**column) for column in stated.get("columns", ())),
        about=papers.paper(paper),
    )
    if not item.reads <= table.reads:
        return None
    rows = tuple(_rows(config, stated, table))
    return replace(item, rows=rows) if any(row.against for row in rows) else None


def _rows(config: Config, stated: Mapping[str, Any], table: Item) -> Iterator[Row]:
    """The run's own rows in the order of the paper's rows, block by block.

    Of several models of one kind in the paper, the first counts.
    """
    for baseline in (row for row in table.rows if row.baseline):
        block = [baseline, *(row for row in table.rows if row.against is baseline)]
        first = baseline.first
        of_kind = [
            row
            for row in stated["rows"]
            if _kind(config, _recipe(row["recipe"])) == _kind(config, first.recipe)
        ]
        if not of_kind:
            continue
        model = of_kind[0]["task"], of_kind[0]["recipe"]
        against = None
        for row in (row for row in of_kind if (row["task"], row["recipe"]) == model):
            for each in block:
                values = _match(row["chain"], each.first)
                if values is None or bool(row.get("baseline")) != each.baseline:
                    continue
                ours = replace(
                    each,
                    label=row["label"].format(**values),
                    group=f"{first.task}, {first.recipe}",
                    against=against,
                    values=values,
                    paper_task=row["task"],
                    paper_recipe=row["recipe"],
                )
                against = ours if each.baseline else against
                yield ours


def _recipe(of_paper: str) -> str | None:
    """The recipe that trains a paper's own model."""
    return read_yaml(PAPERS_OWN)["recipes"].get(of_paper)


def _kind(config: Config, recipe: str | None) -> str | None:
    """The kind of model that a recipe trains; all Transformers are of one kind."""
    if recipe is None:
        return None
    architecture = config.recipe(recipe).architecture
    return (
        "transformer"
        if architecture.is_transformer
        else "lstm"
        if architecture.is_lstm
        else architecture.name
    )


def _match(template: str, chain: Chain) -> dict[str, Any] | None:
    """The values of a row template's variables in a chain's steps; None if the steps do not match."""
    pattern, seen = "", set()
    for text, variable, _, _ in string.Formatter().parse(template):
        pattern += re.escape(text)
        if variable:
            pattern += f"(?P={variable})" if variable in seen else f"(?P<{variable}>[A-Za-z0-9.]+)"
            seen.add(variable)
    match = re.fullmatch(pattern, chain.steps_text)
    return (
        None if match is None else {name: yaml.safe_load(value) for name, value in match.groupdict().items()}
    )
