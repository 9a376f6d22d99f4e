"""The run: what a configuration asks for, each part resolved once.

A run has a configuration; what needs only settings, tasks or recipes takes the `Config`. What has been made
already is not looked at here, but in `store.units` and `planning.jobs`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nmtprune.experiment import own, papers, paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.item_kinds import ITEM_KINDS
from nmtprune.experiment.metrics import METRICS, SCORES, SPEED
from nmtprune.experiment.own import OwnChains
from nmtprune.experiment.papers import Item, Row
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.known import known

OF_THE_STEP = {"history", "norms"}  # what a step writes beside its model


@dataclass(frozen=True)
class Run:
    """The tables and figures of a configuration, their models, and the files that they are made from.

    Every property is worked out when it is first asked for. Raises UserError for mistakes in the settings,
    the preset or a paper's YAML files.
    """

    config: Config

    @property
    def name(self) -> str:
        return self.config.name

    @functools.cached_property
    def own(self) -> OwnChains:
        """The chains that the settings list."""
        return OwnChains(self.config)

    # --- tables and figures

    @functools.cached_property
    def selected(self) -> tuple[tuple[str, str], ...]:
        """Paper and name of every table and figure; those of the run's own chains come first."""
        of_papers = papers.selected(self.config)
        return (*((own.PAPER, name) for name in (own.TABLE, own.PLOT) if self.own.chains), *of_papers)

    @functools.cached_property
    def items(self) -> tuple[Item, ...]:
        """The tables and figures. Raises UserError with item, row, value and the nearest valid name."""
        papers.check_preset(self.config)
        items = tuple(self._item(*key) for key in self.selected)
        self._check_units(_models_of(items))
        return items

    def _item(self, paper: str, name: str) -> Item:
        if paper == own.PAPER:
            return papers.own_item(self.config, self.own, name)
        return papers.item(self.config, paper, name)

    @functools.cached_property
    def stated_in(self) -> tuple[Path, ...]:
        """The YAML and CSV files that state the tables and figures."""
        chosen = [
            (papers.folder_of(paper, self.config), name)
            for paper, name in self.selected
            if paper != own.PAPER
        ]
        stated = [folder / f"{name}.yaml" for folder, name in chosen]
        printed = [folder / "published" / f"{name}.csv" for folder, name in chosen]
        about = {folder / "paper.yaml" for folder, _ in chosen}
        return tuple(sorted({*stated, *about, *(file for file in printed if file.exists())}))

    # --- models

    @functools.cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Every model that a table or figure asks for, and the teachers of distilled tasks, by address."""
        return _sorted(with_teachers(self.config, _models_of(self.items)))

    @functools.cached_property
    def models(self) -> tuple[Chain, ...]:
        """The chains and all models that these begin with, by address."""
        return _sorted(with_ancestors(self.chains))

    @functools.cached_property
    def tasks(self) -> tuple[str, ...]:
        return tuple(sorted({chain.task for chain in self.chains}))

    @functools.cached_property
    def scored(self) -> tuple[Chain, ...]:
        """The chains that are scored, by address; the others are only trained or analysed."""
        return _sorted(_models_of(item for item in self.items if SCORES in item.reads))

    @functools.cached_property
    def scored_in_full(self) -> frozenset[Chain]:
        """The models that a table shows on the development set.

        Models that only select are otherwise scored on test sets alone.
        """
        return frozenset(
            _models_of(
                item for item in self.items if any(METRICS[column.metric].in_full for column in item.columns)
            )
        )

    @functools.cached_property
    def variants(self) -> Mapping[Chain, tuple[Chain, ...]]:
        """The scored chains that only select, by the model that they select from; each group by address."""
        selecting = [chain for chain in self.scored if chain.last.kind.selects]
        return {
            parent: tuple(chain for chain in selecting if chain.parent == parent)
            for parent in dict.fromkeys(known(chain.parent) for chain in selecting)
        }

    @functools.cached_property
    def headline_models(self) -> frozenset[Chain]:
        """The models that headline claims need.

        These are the models of the rows marked so and of their baselines, all models that these begin with,
        their teachers, and what trains the baselines on and so shows whether they are done.
        """
        rows = [row for item in self.items for row in item.rows if row.headline]
        baselines = [row.against for row in rows if row.against]
        asked = {chain for row in (*rows, *baselines) for chain in row.chains}
        needed = with_ancestors(with_teachers(self.config, asked))
        return frozenset({*needed, *self._trained_on(needed)})

    def _trained_on(self, models: Container[Chain]) -> list[Chain]:
        """The chains that train a baseline on, of those in `models`."""
        return [
            each
            for each in self.chains
            if each.last.kind.continues and len(each.steps) == 2 and known(each.parent) in models
        ]

    @functools.cached_property
    def speed_groups(self) -> Mapping[str, tuple[Chain, ...]]:
        """The models whose speed is measured together, by task; each row gives its first seed's.

        The first model is the anchor of the others: the baseline of the first table or figure that asks.
        """
        rows = [row for item in self.items if SPEED in item.reads for row in self._rows_to_make(item)]
        groups: dict[str, dict[Chain, None]] = {}
        for row in sorted(rows, key=lambda row: not row.baseline):
            groups.setdefault(row.first.task, {})[row.first] = None
        return {task: tuple(chains) for task, chains in groups.items()}

    # --- what the run makes, where `only_headlines` or `only_units` leave something out

    def _rows_to_make(self, item: Item) -> list[Row]:
        """The rows of a table or figure that the run makes, each with the models that it makes.

        These are all, unless `only_headlines` or `only_units` are set. A headline row brings its baseline.
        """
        rows = item.rows
        if self.config.settings["only_headlines"]:
            headlines = [row for row in rows if row.headline]
            rows = tuple(
                row
                for row in rows
                if row in headlines or any(row is headline.against for headline in headlines)
            )
        chosen = [
            replace(row, chains=tuple(each for each in row.chains if self._is_in_units(each))) for row in rows
        ]
        return [row for row in chosen if row.chains]

    def _is_in_units(self, model: Chain) -> bool:
        """Whether a model belongs to one of the units that `only_units` names."""
        names = self.config.settings["only_units"]
        return names is None or not _unit_names(model).isdisjoint(names)

    def _check_units(self, models: Iterable[Chain]) -> None:
        units = {name for each in models for name in _unit_names(each)}
        for name in self.config.settings["only_units"] or ():
            if name not in units:
                raise UserError(f"only_units: the run has no unit `{name}`; {suggest(name, units)}")

    # --- files

    def files_read_by(self, item: Item) -> set[Path]:
        """The files of models, and tables of speeds, that one table or figure is made from.

        Rows and models that the run does not make are left out.
        """
        rows = self._rows_to_make(item)
        models = [each for row in rows for each in row.chains]
        wanted = {paths.scores(each) for each in models} if SCORES in item.reads else set()
        for source, each in itertools.product(item.reads - {SCORES, SPEED}, models):
            wanted.add(paths.manifest(each) if source in OF_THE_STEP else paths.analysis(each, source))
        if SPEED in item.reads:
            wanted |= {paths.speed(self.name, row.first.task) for row in rows}
        return wanted

    @functools.cached_property
    def files_read(self) -> frozenset[Path]:
        """The files of models, and tables of speeds, that all tables and figures are made from.

        With `only_headlines` also the scores that show whether the baselines of headlines are done.
        """
        files = {file for item in self.items for file in self.files_read_by(item)}
        if self.config.settings["only_headlines"]:
            files |= {
                paths.scores(each)
                for each in self._trained_on(self.headline_models)
                if self._is_in_units(each)
            }
        return frozenset(files)

    def files_of(self, item: Item) -> list[Path]:
        """The files of one rendered table or figure."""
        return [
            paths.item(self.name, item.paper, item.name, extension)
            for extension in ITEM_KINDS[item.kind].files
        ]

    @functools.cached_property
    def outputs(self) -> tuple[Path, ...]:
        """Every file that rendering writes, the page and the claims first."""
        page = paths.page(self.name)
        return (
            page / paths.INDEX,
            page / paths.CLAIMS,
            page / paths.CLAIMS_TABLE,
            page / paths.REPORT,
            *(file for item in self.items for file in self.files_of(item)),
        )

    @functools.cached_property
    def report_entries(self) -> tuple[tuple[Path, dict[str, Any]], ...]:
        """The files that `snakemake --report` shows, with their captions, categories and labels."""
        return tuple(self._report_entry(item) for item in self.items)

    def _report_entry(self, item: Item) -> tuple[Path, dict[str, Any]]:
        caption = paths.item(self.name, item.paper, item.name, "rst").absolute()
        marks = {"caption": str(caption), "category": item.about["short"], "labels": _labels(item)}
        return paths.item(self.name, item.paper, item.name, ITEM_KINDS[item.kind].report_file), marks


def with_teachers(config: Config, wanted: Iterable[Chain]) -> set[Chain]:
    """The models, and the models that translated the training targets of their tasks, recursively."""
    wanted = set(wanted)
    teachers = {teacher for task in {each.task for each in wanted} for teacher in config.teachers(task)}
    return wanted | with_teachers(config, teachers) if teachers else wanted


def with_ancestors(chains: Iterable[Chain]) -> set[Chain]:
    """The chains, and all models that these begin with."""
    return {ancestor for chain in chains for ancestor in chain.ancestors()}


def _models_of(items: Iterable[Item]) -> set[Chain]:
    return {chain for item in items for row in item.rows for chain in row.chains}


def _sorted(chains: Iterable[Chain]) -> tuple[Chain, ...]:
    return tuple(sorted(chains, key=str))


def _unit_names(model: Chain) -> set[str]:
    """The names of a model's unit in `only_units`: `<task>/<recipe>/s<seed>`, and `<task>/<recipe>`."""
    return {f"{model.task}/{model.recipe}", paths.unit(model).as_posix()}


def _labels(item: Item) -> Callable[[Any], dict[str, str]]:
    """A function of wildcards, since Snakemake looks for those in text: a title may have braces."""
    kind = "table" if ITEM_KINDS[item.kind].is_table else "figure"
    tasks = ", ".join(dict.fromkeys(row.first.task for row in item.rows)) or "none"
    return lambda wildcards: {"item": f"{item.number}: {item.title}", "kind": kind, "task": tasks}
