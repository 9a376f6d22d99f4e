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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nmtprune.experiment import chain as chains
from nmtprune.experiment import names, paths, schemas
from nmtprune.experiment import recipe as recipes
from nmtprune.experiment.architecture import TRANSFORMERS
from nmtprune.experiment.chain import Chain, Step
from nmtprune.experiment.library import VARIANTS, Place, Shelf, shelf
from nmtprune.experiment.preset import Preset
from nmtprune.experiment.reading import merge, read_settings, read_yaml
from nmtprune.experiment.recipe import Recipe
from nmtprune.experiment.schedule import PeakRate, Schedule, continue_short, resolve
from nmtprune.experiment.subwords import name_of
from nmtprune.experiment.task import Task
from nmtprune.experiment.validation import validate
from nmtprune.foundation.errors import UserError, suggest

WORKFLOW = Path(__file__).resolve().parents[2]
SETTINGS_FILE = Path("config.yaml")
UNFINISHED = 0.3  # share of the peak; a linear decay that ends above it is reported
SCORING_VERSION = 6  # raised when scores change without a change of recipe
# Number of evenly spaced training pairs whose likelihood is compared with that of the development set.
TRAINING_SAMPLE = 1000
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
    _loaded: dict[tuple[str, str], Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """The result of `make`, computed once for this configuration and stored under `name`."""
        if ("once", name) not in self._loaded:
            self._loaded["once", name] = make()
        return self._loaded["once", name]

    def folders(self, kind: str) -> list[Path]:
        """The folders of a kind (`tasks`, `recipes`, `presets`, `papers`), the user's own first."""
        own = self.settings["own"]
        return ([Path(own) / kind] if own else []) + [WORKFLOW / kind]

    def names(self, kind: str) -> list[str]:
        """The names of all tasks, recipes or presets, including the user's own."""
        return sorted({name for each in self._shelves(kind) for name in each.places})

    def _shelves(self, kind: str) -> list[Shelf]:
        """The contents of each folder of a kind."""
        return self.once(f"shelves of {kind}", lambda: [shelf(folder) for folder in self.folders(kind)])

    def place(self, kind: str, name: str) -> Place:
        """The place where a task, recipe or preset is stated, with which messages begin.

        Raises UserError for an unknown name.
        """
        place = next(filter(None, (each.place(name) for each in self._shelves(kind))), None)
        if place is None:
            raise UserError(f"unknown {kind.rstrip('s')} `{name}`; {suggest(name, self.names(kind))}")
        return place

    def _load(self, kind: str, name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
        if (kind, name) not in self._loaded:
            place = self.place(kind, name)
            names.check(kind, name, str(place))
            stated = self._stated(kind, place)
            value = (
                stated[VARIANTS][name]
                if place.is_variant
                else {k: v for k, v in stated.items() if k not in ("extends", VARIANTS)}
            )
            if place.is_variant:
                where, base = str(place), place.file.stem
            elif "distilled" in value:
                where, base = f"{place}: distilled.from", value["distilled"]["from"]
            else:
                where, base = f"{place}: extends", stated.get("extends")
            if base:
                if base in (*above, name):
                    raise UserError(
                        f"{where}: `{base}` would be made from itself; give one of them another name"
                    )
                if base not in self.names(kind):
                    raise UserError(
                        f"{where}: unknown {kind.rstrip('s')} `{base}`; {suggest(base, self.names(kind))}"
                    )
                below = self._load(kind, base, (*above, name))
                value = merge(
                    {k: v for k, v in below.items() if k not in ("title", "about", "distilled")}, value
                )
            self._loaded[kind, name] = value
        return self._loaded[kind, name]

    def _stated(self, kind: str, place: Place) -> dict[str, Any]:
        """The content of a place's file, validated, with all variants."""

        def read() -> dict[str, Any]:
            value = read_yaml(place.file)
            validate(value, kind.rstrip("s"), place.of_file)
            return value

        return self.once(f"file {place.file}", read)

    def task(self, name: str) -> Task:
        """A task with everything that it extends merged in. Raises UserError for an unknown one."""
        return self.once(f"task {name}", lambda: Task.over(self._load("tasks", name)))

    def recipe(self, name: str) -> Recipe:
        """A recipe with everything it extends merged in. Raises UserError where the whole lacks something."""
        return self.once(
            f"recipe {name}",
            lambda: recipes.whole(self._load("recipes", name), str(self.place("recipes", name))),
        )

    @property
    def preset(self) -> Preset:
        """The preset of the run."""
        return self.once("preset", lambda: Preset.over(self._load("presets", self.settings["preset"])))

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
            if shipped or (name != self.settings["preset"] and name in self.names("presets"))
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
        schedules = {**continue_short(whole.schedules), **whole.schedules}
        if name not in schedules:
            raise UserError(f"recipe `{recipe}` has no schedule `{name}`; {suggest(name, schedules)}")
        where = f"{self.place('recipes', recipe)}: schedules.{name}"
        stated = merge(whole.training or {}, schedules[name])
        return resolve(stated, where, None if name == "train" else lambda: self.schedule(recipe, "train"))

    def unfinished_decays(self, chains: Iterable[Chain]) -> list[str]:
        """A sentence for each schedule whose linear decay is far from its end at the last update.

        Trainings of the chains that the next step continues are left out, since they are phases of a
        longer training.
        """
        ends = {
            (each.recipe, step.schedule): None
            for each in chains
            for step, after in _with_next(each.steps)
            if _ends(step, after)
        }
        sentences = []
        for recipe, name in ends:
            schedule = self.schedule(recipe, name)
            rates, updates = schedule.learning_rate, schedule.updates
            if (
                isinstance(rates, PeakRate)
                and rates.decay == "linear"
                and (left := rates.at(updates) / rates.peak) > UNFINISHED
            ):
                sentences.append(
                    f"{self.place('recipes', recipe)}: schedules.{name}: the learning rate is still "
                    f"{left:.0%} of its peak "
                    f"at the last update, {updates:,}: it rises for {rates.warm_up:,} updates and falls "
                    f"until {rates.updates:,}; "
                    "say `warm_up` and `updates` of its `learning_rate` anew"
                )
        return sentences

    def subwords(self, chain: Chain) -> dict[str, Any]:
        """The subword settings of a chain: those of its recipe, or those of the imported checkpoint."""
        if chain.root.kind.imports:
            return {"type": "given", "name": chain.root["name"], **self._given(chain.root["name"])}
        return dict(self.recipe(chain.recipe).subwords)

    def data_folder(self, chain: Chain) -> Path:
        """The folder of a chain's data in subwords."""
        return paths.data(chain.task, name_of(self.subwords(chain)))

    def subwords_named(self, name: str) -> dict[str, Any]:
        """Subword settings by the name of their folder; raises UserError if no recipe or import has them."""
        given = ({"type": "given", "name": key, **self._given(key)} for key in self.settings["imports"])
        loaded = [
            key for kind, key in self._loaded if kind == "recipes"
        ]  # the run's own recipes come first, so that others are rarely read
        of_recipes = (
            self._load("recipes", recipe).get("subwords")
            for recipe in dict.fromkeys([*loaded, *self.names("recipes")])
        )
        known = set()
        for settings in filter(None, itertools.chain(given, of_recipes)):
            if name_of(settings) == name:
                return settings
            known.add(name_of(settings))
        raise UserError(f"no recipe has subwords `{name}`; {suggest(name, known)}")

    def _given(self, name: str) -> dict[str, Any]:
        given = self.imported(name)
        return {"dictionaries": given["dictionaries"], "model": given.get("subwords")}

    def imported(self, name: str) -> dict[str, Any]:
        """The settings of an imported checkpoint; raises UserError for an unknown name."""
        imports = self.settings["imports"]
        if name not in imports:
            raise UserError(
                f"step `import-{name}`: there is no `{name}` under `imports` in the configuration; "
                f"{suggest(name, imports)}"
            )
        return imports[name]

    def slice(self, chain: Chain) -> dict[str, Any]:
        """What the last step of a chain depends on besides its parent and data.

        It enters the model's digest, and is a parameter of the Snakemake job.
        """
        step, recipe = chain.last, self.recipe(chain.recipe)
        values: dict[str, Any] = {"step": step.text, "version": step.kind.version}
        if step.kind.trains:
            schedule = self.schedule(chain.recipe, step.schedule)
            values["schedule"] = schedule.said
            if schedule.select == "bleu":
                values["decoding"] = recipe.decoding.said
        return values | step.kind.settings(self, chain)

    def scoring(self, recipe: str) -> dict[str, Any]:
        """What scores depend on besides model and text.

        It enters their digest, and is a parameter of the Snakemake job.
        """
        whole = self.recipe(recipe)
        return {
            "version": SCORING_VERSION,
            "decoding": whole.decoding.said,
            "prunable": whole.prunable.said,
        }

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

    def corpus(self, task: str) -> dict[str, Any]:
        """What a task's text depends on: everything but title, description and probing settings.

        For a distilled task, the teacher's decoding settings are included.
        """
        left_out = ("title", "about", "probing")
        said = {key: value for key, value in self.task(task).said.items() if key not in left_out}
        if distilled := self.task(task).distilled:
            said |= {"distilled": distilled.whole, "decoding": self.recipe(distilled.recipe).decoding.said}
        return said

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
                self.check(teacher)
        except UserError as error:
            raise UserError(f"tasks/{task}.yaml: distilled: {error}") from None
        return teachers

    def distilled_tasks(self) -> list[str]:
        """The names of all distilled tasks. A file with a mistake is passed over: who uses it is told."""
        distilled = []
        for name in self.names("tasks"):
            with contextlib.suppress(UserError):
                distilled += [name] if self.task(name).distilled else []
        return distilled

    def check(self, chain: Chain) -> None:
        """Check everything that can be wrong with a chain; raises UserError."""
        self.teachers(chain.task)
        if chain.root.kind.imports:
            name = chain.root["name"]
            given = self.imported(name)
            for key in ("checkpoint", "dictionaries", "subwords"):
                if given.get(key) and not os.path.exists(given[key]):
                    raise UserError(f"config: imports.{name}.{key}: there is no {given[key]}")
        for ancestor in chain.ancestors():
            self.slice(ancestor)
            if reason := self._misfit(ancestor):
                raise UserError(f"chain `{chain}`: {reason}")

    def _misfit(self, chain: Chain) -> str | None:
        """The reason why the recipe cannot have the last step of a chain, or None.

        The recipe's architecture is not checked for an import, which brings its own.
        """
        step, architecture = chain.last, self.recipe(chain.recipe).architecture
        if step.kind.of_transformers and not (chain.root.kind.imports or architecture.is_transformer):
            return (
                f"`{step}` needs a Transformer, and recipe `{chain.recipe}` has architecture "
                f"`{architecture.name}`; "
                f"valid: {', '.join(TRANSFORMERS)}"
            )
        return step.kind.misfit(self, chain)

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


@functools.cache
def _with_next(steps: Sequence[Step]) -> Iterator[tuple[Step, Step | None]]:
    return zip(steps, [*steps[1:], None], strict=True)


def _ends(step: Step, after: Step | None) -> bool:
    """Whether a step trains and the next one does not."""
    return step.kind.trains and (after is None or not after.kind.trains)


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
    if preset not in config.names("presets"):
        raise UserError(
            f"config: preset: unknown preset `{preset}`; {suggest(preset, config.names('presets'))}"
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
    unnamed = file and settings["chains"] and not (settings["name"] or settings["own"])
    return {**settings, "name": Config(settings).name_after(file.stem)} if unnamed else settings


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
