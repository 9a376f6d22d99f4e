"""Papers as data: the tables and figures of workflow/papers.

A preset's tasks and recipes stand in for those of the papers.
"""

from __future__ import annotations

import functools
import itertools
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nmtprune.experiment import chain, own
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.metrics import METRICS
from nmtprune.experiment.own import OwnChains
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.files import read_table
from nmtprune.foundation.known import known

FOLDER = WORKFLOW / "papers"


@dataclass(frozen=True)
class Column:
    """A measured column.

    `published` names the paper's column, and `scale` converts its values to our unit. `unit` is the unit
    of printed sizes. `test_set`: the number of the task's test set (1: the main one), or `all` for the
    mean over them.
    """

    metric: str
    heading: str
    published: str | None = None
    scale: float = 1
    unit: str = "MB"
    test_set: int | str = 1

    @property
    def key(self) -> str:
        """The name of its values among an item's numbers; unique if a metric is on several test sets."""
        return self.metric if self.test_set in (1, "all") else f"{self.metric}_{self.test_set}"


@dataclass(frozen=True)
class Row:
    """A row of a table or a point of a figure.

    `chains`: its models, one for each seed. `published`: the paper's values by the column names of its
    CSV, as printed; empty if the row is not in the paper. `against`: the baseline row it is compared
    with. `values`: its grid variables. `headline`: a headline claim needs it.
    """

    label: str
    group: str
    chains: tuple[Chain, ...]
    published: Mapping[str, str]
    baseline: bool
    against: Row | None
    values: Mapping[str, Any]
    paper_task: str
    paper_recipe: str
    headline: bool = False

    @property
    def name(self) -> str:
        """Group and label."""
        return f"{self.group} {self.label}".strip()

    @property
    def first(self) -> Chain:
        """The model of the first seed, for what all seeds have in common: task, recipe and steps."""
        return self.chains[0]


@dataclass(frozen=True)
class Item:
    """A table or figure, ready to be made: what the paper says about it, and rows of the run's own models.

    `left_out`: the paper's data and models whose rows are missing because nothing stands in for them.
    `widths`: what a second block below the table shows for every layer (`ffn`, `attention`). `about`:
    its paper, as returned by `paper`.
    """

    paper: str
    name: str
    kind: str
    title: str
    caption: str
    notes: tuple[str, ...]
    headings: Mapping[str, str]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]
    x: Mapping[str, Any] | None
    dashed: tuple[str, ...]
    examples: Mapping[str, int]
    widths: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reads(self) -> set[str]:
        """What its numbers are read from: `scores`, `speed`, `history`, `norms` or analyses."""
        if (read_by_kind := ITEM_KINDS[self.kind].reads) is not None:
            return set(read_by_kind)
        return {METRICS[column.metric].reads for column in self.columns}

    @property
    def key(self) -> str:
        """Paper and name, as presets write them."""
        return f"{self.paper}/{self.name}"

    @property
    def number(self) -> str:
        """Its name as printed, such as `Table 2`."""
        word, digits = known(re.fullmatch(r"(.*?)(\d+[a-z]?)?", self.name)).groups()
        return f"{word.capitalize()} {digits or ''}".strip()


def names(config: Config | None = None) -> list[str]:
    """The names of all papers of the workflow; with a configuration, also of the user's own."""
    folders = config.library.folders("papers") if config else [FOLDER]
    return sorted({file.parent.name for folder in folders for file in folder.glob("*/paper.yaml")})


def folder_of(name: str, config: Config | None = None) -> Path:
    """The folder of a paper's files, the user's own or the workflow's.

    Raises UserError for an unknown paper.
    """
    known = [
        folder / name
        for folder in (config.library.folders("papers") if config else [FOLDER])
        if (folder / name / "paper.yaml").exists()
    ]
    if not known:
        raise UserError(f"unknown paper `{name}`; {suggest(name, names(config))}")
    return known[0]


def paper(name: str, config: Config | None = None) -> dict[str, Any]:
    """A paper's title, authors, tables and figures, and its names for data and models."""
    return _read_paper(folder_of(name, config))


@functools.cache
def _read_paper(folder: Path) -> dict[str, Any]:
    value = read_yaml(folder / "paper.yaml")
    validate(value, "paper", f"{folder.name}/paper.yaml")
    return value


@functools.cache
def _stated(paper_name: str, name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """A table or figure as stated in its YAML file; `folder` is the folder of the paper."""
    value = read_yaml(folder / paper_name / f"{name}.yaml")
    validate(value, "item", f"{paper_name}/{name}")
    return value


def stated(paper_name: str, name: str) -> Mapping[str, Any]:
    """A table or figure of one of the workflow's papers, as stated in its YAML file."""
    return _stated(paper_name, name)


@functools.cache
def _published(paper_name: str, name: str, folder: Path = FOLDER) -> list[dict[str, str]]:
    file = folder / paper_name / "published" / f"{name}.csv"
    return read_table(file) if file.exists() else []


def selected(config: Config) -> list[tuple[str, str]]:
    """Paper and name of every table and figure that is asked for; raises UserError for unknown ones."""
    asked = config.settings["papers"]
    where = f"presets/{config.settings['preset']}.yaml" if asked is None else "config"
    chosen: dict[tuple[str, str], None] = {}
    for entry in config.preset.papers if asked is None else asked:
        paper_name, _, name = entry.partition("/")
        if paper_name not in names(config):
            raise UserError(
                f"{where}: papers: unknown paper `{paper_name}`; {suggest(paper_name, names(config))}"
            )
        if paper_name == own.PAPER:
            raise UserError(
                f"{where}: papers: `{own.PAPER}` is what the run's own chains are called; give the paper's "
                "folder another name"
            )
        known = paper(paper_name, config)["items"]
        if name and name not in known:
            raise UserError(
                f"{where}: papers: {paper_name} has no table or figure `{name}`; {suggest(name, known)}"
            )
        chosen |= dict.fromkeys((paper_name, each) for each in ([name] if name else known))
    return list(chosen)


def check_preset(config: Config) -> None:
    """Check that every name in a preset exists in a paper; raises UserError for typing mistakes."""
    where = f"presets/{config.settings['preset']}.yaml"
    papers = [paper(name, config) | {"name": name} for name in names(config)]
    known = {kind: {name for each in papers for name in each[kind]} for kind in ("tasks", "recipes")}
    known["grids"] = {f"{each['name']}/{item}" for each in papers for item in each["items"]}
    known["seeds_of"] = known["grids"] | {each["name"] for each in papers}
    for kind, valid in known.items():
        for name in getattr(config.preset, kind):
            if name not in valid:
                raise UserError(f"{where}: {kind}: no paper has `{name}`; {suggest(name, valid)}")
    for kind in ("tasks", "recipes"):
        here = config.library.names(kind)
        for name, ours in config.preset.stand_ins(kind).items():
            if ours is not None and ours not in here:
                raise UserError(
                    f"{where}: {kind}.{name}: unknown {kind.rstrip('s')} `{ours}`; {suggest(ours, here)}"
                )


def _grid(config: Config, paper_name: str, name: str, stated: Mapping[str, Any]) -> dict[str, list[Any]]:
    """An item's grid, or the part of it that the preset runs."""
    grid, key = stated.get("grid", {}), f"{paper_name}/{name}"
    part = config.preset.grids.get(key, {})
    for variable in part:
        if variable not in grid:
            where = f"presets/{config.settings['preset']}.yaml: grids"
            raise UserError(f"{where}: {key} has no variable `{variable}`; {suggest(variable, grid)}")
    return {**grid, **part}


def _stand_in(config: Config, paper_name: str, kind: str, name: str) -> str | None:
    """The task or recipe that stands in for a paper's; None if the preset leaves it out.

    The run's own chains name their tasks and recipes themselves. In a paper of the user's own, tasks and
    recipes that the preset does not mention stand for themselves.
    """
    if paper_name == own.PAPER:
        return name
    known = paper(paper_name, config)[kind]
    if name not in known:
        raise UserError(f"{paper_name} has no {kind.rstrip('s')} `{name}`; {suggest(name, known)}")
    given = config.preset.stand_ins(kind)
    if name not in given and not _is_shipped(config, paper_name) and name in config.library.names(kind):
        return name
    if name not in given:
        raise UserError(
            f"presets/{config.settings['preset']}.yaml: {kind}: nothing is said of `{name}`; "
            f"name the {kind.rstrip('s')} that stands in for it, or null to leave its rows out"
        )
    return given[name]


def _fields(text: str) -> list[str]:
    """The names in braces in a text, each once."""
    return list(dict.fromkeys(name for _, name, _, _ in string.Formatter().parse(text) if name is not None))


def _facts(config: Config, task: str, recipe: str) -> dict[str, Any]:
    """What a label may mention of model and data: the architecture's settings by name, and `pairs`.

    `pairs` is the number of training pairs of a sampled task.
    """
    sample, distilled = config.task(task).sample, config.task(task).distilled
    pairs = sample.pairs if sample else distilled.sample if distilled else None
    said = "All" if pairs is None else f"{pairs / 1e6:g}M" if pairs >= 1e6 else f"{pairs:,}"
    return {**config.recipe(recipe).architecture.said, "pairs": said}


def _points(
    row: Mapping[str, Any],
    grid: Mapping[str, Any],
    facts: Mapping[str, Any],
    classes: list[str],
) -> list[dict[str, Any]]:
    """The values of the grid variables that a stated row names in braces; one empty point if it names none.

    If the values of a variable are given as the word `classes`, it runs over the weight classes of the
    row's model.
    """
    variables = [name for name in _fields(row["label"] + row["chain"]) if name in grid or name not in facts]
    if unknown := [variable for variable in variables if variable not in grid]:
        raise UserError(f"unknown grid variable `{unknown[0]}`; {suggest(unknown[0], grid)}")
    spans = [classes if grid[variable] == "classes" else grid[variable] for variable in variables]
    return [dict(zip(variables, values, strict=True)) for values in itertools.product(*spans)]


def _printed(
    row: Mapping[str, Any], published: list[dict[str, str]], values: Mapping[str, Any]
) -> dict[str, str]:
    """The paper's values of a stated row, or of one point of its grid; empty if they are not available."""
    line = row.get("published")
    if isinstance(line, dict):
        line = next(
            (number for value, number in line.items() if str(value) in map(str, values.values())), None
        )
    if not line or not published:
        return {}
    if isinstance(line, str):
        return _of_model(published, line)
    if line > len(published):
        raise UserError(f"published: there is no row {line}; the paper's CSV has {len(published)}")
    return published[line - 1]


def _of_model(published: list[dict[str, str]], model: str) -> dict[str, str]:
    """The values of one model in a CSV with one column (`big`) or several (`ende_E:SA`) for each model.

    Values are keyed by the name of the line (a probing task with its category, a component, a layer) and
    the rest of the column's name.
    """
    facts = [name for name in published[0] if name in ("category", "task", "component", "layer")]
    columns = {
        name: name.removeprefix(model).removeprefix("_")
        for name in published[0]
        if name == model or name.startswith(f"{model}_")
    }
    if not columns:
        raise UserError(f"published: there is no column `{model}`; {suggest(model, published[0])}")
    return {
        " ".join(filter(None, [*(line[fact] for fact in facts), part])): line[name]
        for line in published
        for name, part in columns.items()
    }


def item(config: Config, paper_name: str, name: str) -> Item:
    """A table or figure of a paper. Raises UserError with item, row, value and the nearest valid name."""
    folder = folder_of(paper_name, config).parent
    stated, published = _stated(paper_name, name, folder), _published(paper_name, name, folder)
    return _resolved(config, paper(paper_name, config), (paper_name, name), stated, published)


def own_item(config: Config, chains: OwnChains, name: str) -> Item:
    """The table, or the plot, of the run's own chains."""
    stated = chains.stated(name)
    validate(stated, "item", f"{own.PAPER}/{name}")
    return _resolved(config, chains.about, (own.PAPER, name), stated, [])


def _resolved(
    config: Config,
    about: Mapping[str, Any],
    key: tuple[str, str],
    stated: Mapping[str, Any],
    published: list[dict[str, str]],
) -> Item:
    """What a YAML file states of a table or figure in terms of the run's tasks, recipes and seeds."""
    paper_name, name = key
    grid = _grid(config, paper_name, name, stated)
    _check_columns(key, stated, published)
    rows: list[Row] = []
    left_out: dict[str, None] = {}
    against: Row | None = None
    for number, row in enumerate(stated["rows"], 1):
        baseline = row.get("baseline", False)
        against = None if baseline else against
        try:
            task = _stand_in(config, paper_name, "tasks", row["task"])
            recipe = _stand_in(config, paper_name, "recipes", row["recipe"])
            if task is None or recipe is None:
                missing = about["tasks"][row["task"]] if task is None else about["recipes"][row["recipe"]]
                left_out[missing] = None
                continue
            said = row.get("seed", config.seeds_of(paper_name, name))
            seeds = said if isinstance(said, list) else [said]
            facts = _facts(config, task, recipe)
            for values in _points(row, grid, facts, config.recipe(recipe).prunable_classes):
                steps = chain.parse_steps(row["chain"].format(**values))
                chains = tuple(Chain(task, recipe, seed, steps) for seed in seeds)
                check_chain(config, chains[0])
                rows.append(_row(row, facts, values, chains, _printed(row, published, values), against))
                against = rows[-1] if baseline else against
        except UserError as error:
            raise UserError(f"{paper_name}/{name} row {number}: {error}") from None
    return Item(
        paper=paper_name,
        name=name,
        kind=stated["kind"],
        title=stated["title"],
        caption=_caption(stated["caption"], rows),
        notes=tuple(stated.get("notes", ())),
        headings=stated.get("headings", {}),
        columns=tuple(Column(**column) for column in stated.get("columns", ())),
        rows=tuple(rows),
        left_out=tuple(left_out),
        x=stated.get("x"),
        dashed=tuple(stated.get("dashed", ())),
        examples=stated.get("examples", {}),
        widths=tuple(stated.get("widths", ())),
        about=about,
    )


def _check_columns(key: tuple[str, str], stated: Mapping[str, Any], published: list[dict[str, str]]) -> None:
    """Raises UserError for a column that refers to published values which the paper's CSV file lacks."""
    for column in stated.get("columns", ()) if published else ():
        if (wanted := column.get("published")) and wanted not in published[0]:
            valid = suggest(wanted, published[0])
            raise UserError(f"{'/'.join(key)}: columns: nothing is published as `{wanted}`; {valid}")


def _row(
    stated: Mapping[str, Any],
    facts: Mapping[str, Any],
    values: Mapping[str, Any],
    chains: tuple[Chain, ...],
    published: Mapping[str, str],
    against: Row | None,
) -> Row:
    """A row that a YAML file states, for one point of its grid."""
    return Row(
        label=stated["label"].format(**{**facts, **values}),
        group=stated.get("group", "").format(**facts),
        chains=chains,
        published=published,
        baseline=stated.get("baseline", False),
        against=against,
        values=values,
        paper_task=stated["task"],
        paper_recipe=stated["recipe"],
        headline=_is_headline(stated.get("headline", False), values),
    )


def _is_headline(stated: bool | list[float], values: Mapping[str, Any]) -> bool:
    """Whether a row is marked as a headline, or has one of the marked values of its grid variables."""
    return stated if isinstance(stated, bool) else any(value in stated for value in values.values())


def _is_shipped(config: Config, paper_name: str) -> bool:
    """Whether a paper is the workflow's, not the user's."""
    return folder_of(paper_name, config).parent == FOLDER


def _caption(text: str, rows: Iterable[Row]) -> str:
    """A caption with grid variables in braces replaced by their values.

    For example, `λ = {lambda}` becomes `λ = 8 or 20`.
    """
    listed = {
        name: dict.fromkeys(str(row.values[name]) for row in rows if name in row.values)
        for name in _fields(text)
    }
    return text.format(**{name: " or ".join(values) or "–" for name, values in listed.items()})
