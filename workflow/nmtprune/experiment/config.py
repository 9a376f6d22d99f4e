"""Settings, presets, tasks and recipes: load, merge and validate them, and explain errors before any job."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nmtprune.experiment import chain as chains
from nmtprune.experiment import names, paths, schemas
from nmtprune.experiment import recipe as recipes
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.imports import Import
from nmtprune.experiment.library import WORKFLOW, Library
from nmtprune.experiment.preset import Preset
from nmtprune.experiment.reading import merge, read_settings
from nmtprune.experiment.recipe import Recipe
from nmtprune.experiment.schedule import Schedule, resolve, rest_of, unstated
from nmtprune.experiment.subwords import name_of
from nmtprune.experiment.task import Task
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError, suggest

SETTINGS_FILE = Path("config.yaml")
# Number of evenly spaced training pairs whose likelihood is compared with that of the development set.
TRAINING_SAMPLE = 1000
REST_OF_RESTART = "restart-at-"  # prefix of the percentage after which the schedule `restart` is taken up
T = TypeVar("T")
OWN = "own"  # the default name of a run of the user's own chains
SETTINGS_THAT_REACH_JOBS = (
    "data_dir",
    "own",
    "device",
    "imports",
    "comet_model",
    "measures",
    "workers",
    "nodes",
    "jobs_per_gpu",
    "kept",
    "tensorboard",
    "speed_device",
)


@dataclass(frozen=True)
class Config:
    """The configuration of a run: validated settings, and tasks, recipes and presets by name."""

    settings: Mapping[str, Any]
    _made: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The result of `make`, computed once for this configuration and stored under `name`."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @functools.cached_property
    def library(self) -> Library:
        """All tasks, recipes and presets by name."""
        return Library(self.settings["own"])

    def task(self, name: str) -> Task:
        """A task with everything that it extends merged in. Raises UserError for an unknown one."""
        return self.once(f"task {name}", lambda: Task.over(self.library.merged("tasks", name)))

    def recipe(self, name: str) -> Recipe:
        """A recipe with everything it extends merged in. Raises UserError where the whole lacks something."""
        return self.once(
            f"recipe {name}",
            lambda: recipes.whole(
                self.library.merged("recipes", name), str(self.library.place("recipes", name))
            ),
        )

    @property
    def preset(self) -> Preset:
        """The preset of the run."""
        return self.once(
            "preset", lambda: Preset.over(self.library.merged("presets", self.settings["preset"]))
        )

    @property
    def name(self) -> str:
        """The name of the run, used for its page and its speeds.

        It is given by the settings, the preset, or the user's own folder.
        """
        if self.settings["name"] or not self.settings["chains"]:
            return self.settings["name"] or self.settings["preset"]
        own = self.settings["own"]
        return self.once("name", lambda: self.name_after(Path(own).resolve().name if own else OWN))

    def name_after(self, text: str) -> str:
        """A name for a run of the user's own, made from that of a folder or file.

        It ends with `-own` if the name is taken otherwise.
        """
        name = as_name(text)
        return f"{name}-own" if self.owner_of(name) else name

    def owner_of(self, name: str) -> str | None:
        """What already has a name that a page of own chains would need; None if the name is free.

        A folder of results, a shipped preset, or a preset of the user's own that is not that of this
        run.
        """
        if name in names.TAKEN["presets"]:
            return "a folder of results"
        shipped = (WORKFLOW / "presets" / f"{name}.yaml").exists()
        return (
            "a preset"
            if shipped or (name != self.settings["preset"] and name in self.library.names("presets"))
            else None
        )

    @property
    def title(self) -> str:
        """The run in one line: the preset's title, or a title for own chains."""
        return self.preset.title if self.name == self.settings["preset"] else f"Own chains of {self.name}"

    @property
    def heading(self) -> str:
        """Name and title, as in the first line of reports on a run."""
        return f"{self.name}: {self.title}"

    @property
    def seeds(self) -> list[int]:
        """The seeds of the run, from the settings or from the preset."""
        return self.settings["seeds"] or list(self.preset.seeds)

    def seeds_of(self, paper: str, item: str) -> list[int]:
        """The seeds of a table or figure.

        They are those of the settings, or those of the preset for the item, for its paper or in general.
        """
        of_preset = self.preset.seeds_of
        return (
            self.settings["seeds"] or of_preset.get(f"{paper}/{item}") or of_preset.get(paper) or self.seeds
        )

    @property
    def data_dir(self) -> Path | None:
        """The folder with data of the user's own; None if there is none."""
        return Path(self.settings["data_dir"]) if self.settings["data_dir"] else None

    def workers(self, chain: Chain) -> tuple[int, int]:
        """The number of nodes, and of workers on each, for a chain's last training.

        These are the numbers in the settings if they divide the batches of an update evenly; otherwise
        the most workers that do, on one node.
        """
        nodes, workers = self.settings["nodes"], self.settings["workers"]
        accumulate = (
            self.schedule(chain.recipe, chain.last.schedule).accumulate if chain.last.kind.trains else 1
        )
        return (nodes, workers) if accumulate % (nodes * workers) == 0 else (1, math.gcd(accumulate, workers))

    def schedule(self, recipe: str, name: str) -> Schedule:
        """A training schedule of a recipe; raises UserError if it does not exist or has a mistake."""
        # stored, since thousands of chains need it and validation takes milliseconds
        return self.once(f"schedule {recipe}/{name}", lambda: self._resolved(recipe, name))

    def _resolved(self, recipe: str, name: str) -> Schedule:
        whole = self.recipe(recipe)
        schedules = {**unstated(whole.schedules), **whole.schedules}
        percent = name.removeprefix(REST_OF_RESTART)
        if percent != name and name not in schedules:
            return self._rest(recipe, "restart", percent)
        if name not in schedules:
            raise UserError(f"recipe `{recipe}` has no schedule `{name}`; {suggest(name, schedules)}")
        where = f"{self.library.place('recipes', recipe)}: schedules.{name}"
        stated = merge(whole.training or {}, schedules[name])
        return resolve(stated, where, None if name == "train" else lambda: self.schedule(recipe, "train"))

    def _rest(self, recipe: str, name: str, percent: str) -> Schedule:
        """The part of a schedule after this percentage of its updates. Raises UserError if there is none."""
        rest = rest_of(self.schedule(recipe, name), percent)
        if not rest.updates:
            where = f"{self.library.place('recipes', recipe)}: schedules.{name}"
            raise UserError(f"{where}: no update is left after {percent} percent of them")
        return rest

    def subwords(self, chain: Chain) -> dict[str, Any]:
        """The subword settings of a chain: those of its recipe, or those of the imported checkpoint."""
        if chain.root.kind.imports:
            name = chain.root["name"]
            return {"type": "given", "name": name, **self.imported(name).segmentation}
        return dict(self.recipe(chain.recipe).subwords)

    def data_folder(self, chain: Chain) -> Path:
        """The folder of a chain's data in subwords."""
        return paths.data(chain.task, name_of(self.subwords(chain)))

    def subwords_named(self, name: str) -> dict[str, Any]:
        """Subword settings by the name of their folder; raises UserError if no recipe or import has them."""
        given = (
            {"type": "given", "name": key, **self.imported(key).segmentation}
            for key in self.settings["imports"]
        )
        # the run's own recipes come first, so that others are rarely read
        loaded = self.library.read_so_far("recipes")
        of_recipes = (
            self.library.merged("recipes", recipe).get("subwords")
            for recipe in dict.fromkeys([*loaded, *self.library.names("recipes")])
        )
        known = set()
        for settings in filter(None, itertools.chain(given, of_recipes)):
            if name_of(settings) == name:
                return settings
            known.add(name_of(settings))
        raise UserError(f"no recipe has subwords `{name}`; {suggest(name, known)}")

    def imported(self, name: str) -> Import:
        """The settings of an imported model; raises UserError for an unknown name."""
        imports = self.settings["imports"]
        if name not in imports:
            raise UserError(
                f"step `import-{name}`: there is no `{name}` under `imports` in the configuration; "
                f"{suggest(name, imports)}"
            )
        return Import.over(imports[name])

    def translates_on_gpu(self, recipe: str) -> bool:
        """Whether a recipe's models translate on a GPU, if there is one.

        fairseq does so if trainings do; CTranslate2 and ONNX Runtime only with `device: cuda`.
        """
        return self.settings["device"] == "cuda" or self.recipe(recipe).searched_by_fairseq

    def shortlist(self, chain: Chain) -> Path | None:
        """The lexical shortlist that a chain's models translate with, or None.

        Without a shortlist, all target pieces are candidates.
        """
        decoding = self.recipe(chain.recipe).decoding
        if not decoding.shortlist:
            return None
        return paths.shortlist(self.data_folder(chain), decoding.shortlist, decoding.frequent)

    def references(self, task: str, split: str) -> list[Path]:
        """The files of a set's references: its target side, and the further ones of a test set."""
        stated = self.task(task)
        numbers = range(1, len(stated.references.get(split, ())) + 2)
        return [paths.reference(paths.text(task), split, stated.target, number) for number in numbers]

    def teachers(self, task: str) -> list[Chain]:
        """The models that translate a distilled task's training sources, one for each seed.

        None of another task. Raises UserError.
        """
        return self.once(f"teachers {task}", lambda: self._teachers(task))

    def _teachers(self, task: str) -> list[Chain]:
        if not (distilled := self.task(task).distilled):
            return []
        of_seeds = (f"{distilled.from_}/{distilled.recipe}/s{seed}" for seed in distilled.seeds)
        try:
            teachers = [chains.parse(f"{of_seed}/{distilled.chain}") for of_seed in of_seeds]
            for teacher in teachers:
                check_chain(self, teacher)
        except UserError as error:
            raise UserError(f"tasks/{task}.yaml: distilled: {error}") from None
        return teachers

    def distilled_tasks(self) -> list[str]:
        """The names of all distilled tasks. A file with a mistake is passed over: who uses it is told."""
        distilled = []
        for name in self.library.names("tasks"):
            with contextlib.suppress(UserError):
                distilled += [name] if self.task(name).distilled else []
        return distilled

    def as_arguments(self, keys: Iterable[str] = SETTINGS_THAT_REACH_JOBS) -> str:
        """The settings among `keys` that config.yaml does not give, as `--set key=value` for a shell line."""
        said = _defaults() | layers()
        differ = {key: self.settings[key] for key in keys if self.settings[key] != said[key]}
        return shlex.join(
            word
            for key, value in differ.items()
            for word in ("--set", f"{key}={json.dumps(value, ensure_ascii=False)}")
        )

    def differing(self, file: Path | None) -> list[str]:
        """The settings that config.yaml and a configuration file do not give, as `key=value`.

        The configuration file takes precedence over config.yaml.
        """
        said = _named(_defaults() | layers([file] if file else []), file)
        return [
            f"{key}={json.dumps(value, ensure_ascii=False)}"
            for key, value in self.settings.items()
            if value != said[key]
        ]


@functools.cache
def _defaults() -> dict[str, Any]:
    return {key: value["default"] for key, value in schemas.read("config")["properties"].items()}


def from_settings(settings: Mapping[str, Any], file: Path | None = None) -> Config:
    """Validate settings (Snakemake's config) and complete them with the defaults of the schema.

    `file`: the configuration file that took precedence over config.yaml; it gives its name to a run of
    own chains that has no other name. Raises UserError for settings that are not valid.
    """
    validate(settings, "config", "config")
    config = Config(_named({**_defaults(), **settings}, file))
    for key in ("own", "data_dir", "kept"):
        folder = config.settings[key]
        # `Path.is_dir` raises OSError for a name that is too long and a folder without access
        if folder and not os.path.isdir(folder):
            raise UserError(f"config: {key}: there is no folder {folder}")
    preset = config.settings["preset"]
    if preset not in config.library.names("presets"):
        raise UserError(
            f"config: preset: unknown preset `{preset}`; {suggest(preset, config.library.names('presets'))}"
        )
    is_the_presets = config.name == preset and not config.settings["chains"]
    if not is_the_presets and (owner := config.owner_of(config.name)):
        raise UserError(
            f"config: name: `{config.name}` is the name of {owner}, and this run's page needs one of its "
            "own; set another"
        )
    return config


def _named(settings: dict[str, Any], file: Path | None) -> dict[str, Any]:
    """The settings, with a name for a run of own chains that has none.

    The name is that of the configuration file.
    """
    if file is None or not settings["chains"] or settings["name"] or settings["own"]:
        return settings
    return {**settings, "name": Config(settings).name_after(file.stem)}


def as_name(text: str) -> str:
    """A text turned into a valid name for a run."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._") or OWN


def layers(files: Iterable[Path] = (), overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The settings of config.yaml (if it exists), `files` and `key=value` overrides, merged.

    Later ones take precedence; nothing is validated.
    """
    first = [SETTINGS_FILE] if SETTINGS_FILE.exists() else []
    return read_settings([*first, *files], list(overrides))


def load(files: Iterable[Path] = (), overrides: Iterable[str] = ()) -> Config:
    """The configuration from all layers of settings; raises UserError if it is not valid."""
    files = list(files)
    return from_settings(layers(files, overrides), Path(files[-1]) if files else None)
