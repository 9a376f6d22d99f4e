"""The jobs of a run, known without Snakemake: what each makes and needs, and which are still to do.

They must agree with workflow/rules; tests compare the two.
"""

from __future__ import annotations

import functools
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmtprune.data.corpus import own_files
from nmtprune.experiment import paths, slices
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS, ON_GPU, AnalysisKind
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.checks import check_chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.experiment.subwords import given_files
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.files import read_table
from nmtprune.foundation.known import known
from nmtprune.store import current, manifest, units
from nmtprune.store.ablation_order import ANALYSIS as ORDER

STEP = "step"
# verbs that do the work of a job, by hand or in a run
VERBS = ("text", "data", "shortlist", "run", "score", "variants", "analyse", "shard", "speed")


def rule_of(does: str) -> str:
    """The rule of an analysis or a verb."""
    return ANALYSIS_KINDS[does].rule if does in ANALYSIS_KINDS else does


def translates(does: str) -> bool:
    """Whether a job of this verb or analysis translates with the model."""
    return does in ("score", "variants") or (does in ANALYSIS_KINDS and ANALYSIS_KINDS[does].translates)


@dataclass(frozen=True)
class Job:
    """One job of a rule: it makes the file `makes`, and others beside it, once everything in `needs` exists.

    `does`: `step` if it makes `chain`, otherwise a verb or the name of an analysis of `chain`. `models`: the
    variants that it scores, or the models that it times.
    """

    rule: str
    does: str
    makes: Path
    log: Path
    task: str
    needs: tuple[Path, ...] = ()
    chain: Chain | None = None
    models: tuple[Chain, ...] = ()

    @property
    def subject(self) -> Chain:
        """The chain that the job makes or looks at. Raises TypeError for a job without one."""
        return known(self.chain)

    @property
    def trains(self) -> bool:
        """Whether the job is a training."""
        return self.does == STEP and self.subject.last.kind.trains

    @property
    def folders(self) -> set[Path]:
        """The folders in which it leaves files."""
        others = (
            self.models if self.rule == "variants" else self.subject.of_its_job() if self.does == STEP else ()
        )
        return {self.makes.parent, *map(paths.model, others)}


class Jobs(dict[Path, Job]):
    """All jobs of a run by the file that each makes; a job comes after the jobs that it needs.

    `targets`: the files that the run is to make. Pages are rendered from whatever exists, and are not jobs
    here. Without `asked` there are no jobs at first; methods add jobs for single files and what these need,
    and return the file.
    """

    def __init__(self, run: Run, asked: bool = True) -> None:
        super().__init__()
        self.run, self.config, self.kept = run, run.config, units.Kept(run.config)
        self.targets = self.kept.targets(run) if asked else []
        models = {paths.manifest(model): model for model in run.models} if asked else {}
        for target in self.targets:
            self._target(target, models)

    def _target(self, file: Path, models: Mapping[Path, Chain]) -> Path:
        if file.parent == paths.speed(self.run.name, "").parent:
            return self.speed(file, self.run.speed_groups[file.stem])
        if file.is_relative_to(paths.DATA):
            return self.text(file.relative_to(paths.DATA).parts[0])
        chain = models[file.parent / paths.MANIFEST]
        match file.name:
            case paths.MANIFEST:
                return self.model(chain)
            case paths.SCORES:
                return self.score(chain)
            case paths.VARIANTS:
                return self.variants(chain, self.run.variants[chain])
            case _:
                return self.analysis(chain, file.stem)

    def _add(
        self, rule: str, does: str, makes: Path, log: Path, task: str, needs: Iterable[Path], **about: Any
    ) -> Path:
        self[makes] = Job(rule, does, makes, log, task, tuple(needs), **about)
        return makes

    def text(self, task: str) -> Path:
        """Add the job of a task's text."""
        folder, below = paths.text(task), self.config.task(task).distilled
        makes = folder / paths.MANIFEST
        if makes in self:
            return makes
        needs = [self.text(below.from_), *map(self.model, self.kept.teachers(task))] if below else []
        return self._add("distil" if below else "text", "text", makes, paths.log(folder), task, needs)

    def data(self, chain: Chain) -> Path:
        """Add the job of the data that a chain reads."""
        return self.encoded(chain.task, self.config.data_folder(chain))

    def encoded(self, task: str, folder: Path) -> Path:
        """Add the job of a task's encoded data in this folder."""
        makes = folder / paths.MANIFEST
        return (
            makes
            if makes in self
            else self._add("data", "data", makes, paths.log(folder), task, [self.text(task)])
        )

    def shortlist(self, task: str, file: Path) -> Path:
        """Add the job of a shortlist."""
        return self._add(
            "shortlist", "shortlist", file, paths.log(file), task, [self.encoded(task, file.parent)]
        )

    def _shortlists(self, chains: Iterable[Chain]) -> list[Path]:
        shortlists = {file: chain for chain in chains if (file := self.config.shortlist(chain))}
        for file, chain in shortlists.items():
            if file not in self:
                self.shortlist(chain.task, file)
        return sorted(shortlists)

    def model(self, chain: Chain) -> Path:
        """Add the job that makes a chain's model."""
        makes, kind = paths.manifest(chain), chain.last.kind
        if makes in self:
            return makes
        reads_text = chain.parent is None or kind.trains
        needs = [
            *([self.data(chain)] if reads_text else []),
            *([self.model(chain.base)] if chain.base else []),
        ]
        needs += [self.analysis(known(chain.parent), ORDER)] if kind.needs_order else []
        return self._add(kind.rule, STEP, makes, paths.log(makes.parent), chain.task, needs, chain=chain)

    def analysis(self, chain: Chain, name: str) -> Path:
        """Add the job of a model's analysis. Raises UserError for an unknown name."""
        makes = paths.analysis(chain, name)
        if makes in self:
            return makes
        kind = _kind(name)
        needs = [self.analysis(chain, needed) for needed in kind.needs]
        if kind.shared_out and (shards := self.config.settings["shards"]) > 1:
            needs += [self.shard(chain, name, shard, shards) for shard in range(1, shards + 1)]
        return self._looked_at(kind.rule, name, makes, chain, needs)

    def score(self, chain: Chain) -> Path:
        """Add the job that scores a model."""
        return self._looked_at("score", "score", paths.model(chain) / paths.SCORES, chain)

    def variants(self, chain: Chain, variants: Iterable[Chain]) -> Path:
        """Add the job that scores variants of a model."""
        return self._looked_at(
            "variants", "variants", paths.model(chain) / paths.VARIANTS, chain, models=tuple(variants)
        )

    def shard(self, chain: Chain, name: str, shard: int, shards: int) -> Path:
        """Add the job of one shard of an analysis' trials."""
        part = f"{name}-{shard}-of-{shards}"
        makes, log = paths.shard(chain, part), paths.log(paths.analysis(chain, part))
        return self._add("shard", name, makes, log, chain.task, self._read(chain, name), chain=chain)

    def _looked_at(
        self,
        rule: str,
        does: str,
        makes: Path,
        chain: Chain,
        needs: Iterable[Path] = (),
        models: tuple[Chain, ...] = (),
    ) -> Path:
        needs, log = [*self._read(chain, does), *needs], paths.log(makes)
        return self._add(rule, does, makes, log, chain.task, needs, chain=chain, models=models)

    def _read(self, chain: Chain, does: str) -> list[Path]:
        """What every job reads that looks at a model."""
        shortlists = self._shortlists([chain]) if translates(does) else []
        return [self.data(chain), self.model(chain), *shortlists]

    def speed(self, makes: Path, timed: Iterable[Chain]) -> Path:
        """Add the job of a table of speeds."""
        task, models = makes.stem, tuple(timed)
        needs = [
            *sorted({self.data(each) for each in models}),
            *self._shortlists(models),
            *map(self.model, models),
        ]
        log = paths.log(makes.parent / task)
        return self._add("speed", "speed", makes, log, task, needs, models=models)

    def behind(self, files: Iterable[Path]) -> set[Path]:
        """The files and everything that must exist before them."""
        needed: set[Path] = set()
        waiting = list(files)
        while waiting:
            file = waiting.pop()
            if file not in needed:
                needed.add(file)
                waiting += self[file].needs
        return needed

    def of_items(self) -> dict[str, set[Path]]:
        """For each table or figure (`see2016/figure3`), all files that it depends on, directly or not.

        Files that kept units have are left out.
        """
        made = set(self.targets)
        return {
            item.key: self.behind(file for file in self.run.files_read_by(item) if file in made)
            for item in self.run.items
        }

    def to_do(self) -> list[Job]:
        """The jobs that are left: those that a table or figure still needs, or whose results are outdated.

        Missing inputs of an up-to-date job do not make it run again.
        """
        notes = current.notes()
        outdated = current.outdated(notes)
        fresh: dict[Path, bool] = {}
        for file, job in self.items():  # in order: needed files come first
            fresh[file] = (
                _is_there(self.config, job)
                and file not in outdated
                and all(
                    fresh[need] and (file in notes or need.stat().st_mtime <= file.stat().st_mtime)
                    for need in job.needs
                    if need.exists()
                )
            )
        left: set[Path] = set()
        waiting = [target for target in self.targets if not fresh[target]]
        while waiting:
            file = waiting.pop()
            if file not in left:
                left.add(file)
                waiting += [need for need in self[file].needs if not fresh[need]]
        return [job for file, job in self.items() if file in left]


def _is_there(config: Config, job: Job) -> bool:
    """Whether the output of a job exists: a model with the current settings, a table with all its models."""
    if not job.makes.exists():
        return False
    if job.does != STEP:
        return set(map(str, job.models)) <= _models_in(job.makes) if job.models else True
    made = [each for each in job.subject.of_its_job() if paths.manifest(each).exists()]
    try:
        return all(
            manifest.read(paths.manifest(each)).get("slice") == slices.of_step(config, each) for each in made
        )
    except UserError:
        return False


def _models_in(table: Path) -> set[str]:
    """The models that a table of variants or speeds has, or that its list of left-out engines names."""
    models = set()
    for file in (table, paths.left_out(table)):
        if file.exists():
            models |= {row["chain"] for row in read_table(file)}
    return models


def of_verb(config: Config, verb: str, arguments: Namespace) -> Job:
    """The job that the arguments of one of VERBS ask for. Raises UserError for an invalid chain."""
    jobs = Jobs(Run(config), asked=False)
    asked = functools.partial(_checked, config)
    match verb:
        case "text":
            makes = jobs.text(arguments.task)
        case "data":
            makes = jobs.encoded(arguments.task, paths.data(arguments.task, arguments.subwords))
        case "shortlist":
            folder = paths.data(arguments.task, arguments.subwords)
            makes = jobs.shortlist(arguments.task, paths.shortlist(folder, *paths.candidates(arguments.top)))
        case "run":
            makes = jobs.model(asked(arguments.model))
        case "score":
            makes = jobs.score(asked(arguments.model))
        case "variants":
            makes = jobs.variants(asked(arguments.model), ())
        case "analyse":
            makes = jobs.analysis(asked(arguments.model), arguments.analysis)
        case "shard":
            makes = jobs.shard(
                asked(arguments.model), arguments.analysis, int(arguments.shard), int(arguments.shards)
            )
        case "speed":
            makes = jobs.speed(Path(arguments.table), [asked(model) for model in arguments.models])
    return jobs[makes]


def _kind(name: str) -> AnalysisKind:
    if name not in ANALYSIS_KINDS:
        raise UserError(f"unknown analysis `{name}`; {suggest(name, ANALYSIS_KINDS)}")
    return ANALYSIS_KINDS[name]


def _checked(config: Config, model: str) -> Chain:
    chain = parse(paths.chain_text(model))
    check_chain(config, chain)
    return chain


def read_by(config: Config, job: Job) -> list[Path]:
    """The files that a job reads: outputs of other jobs, and the user's own files.

    The user's own are corpora, dictionaries, checkpoints and probing sets. Raises UserError if a corpus is
    missing.
    """
    task = config.task(job.task)
    match job.does:
        case "text" if job.rule == "text":
            own = own_files(task, config.data_dir)
        case "data":
            settings = config.subwords_named(job.makes.parent.name)
            own = given_files(settings, task.languages) if settings["type"] == "given" else []
        case analysis if analysis in ANALYSIS_KINDS:
            own = ANALYSIS_KINDS[analysis].own_files(config, job.task)
        case "step":
            own = job.subject.last.kind.own_files(config, job.subject).values()
        case _:
            own = []
    return [*job.needs, *map(Path, own)]


def counts(jobs: Iterable[Job]) -> Counter[str]:
    """The number of jobs by rule."""
    return Counter(job.rule for job in jobs)


def takes_gpu(config: Config, job: Job) -> bool:
    """Whether a job asks for a GPU if there is one.

    Trainings do, models that run in PyTorch, and translations by fairseq; with `device: cuda`
    all translations.
    """
    if job.does == STEP:
        return job.subject.last.kind.trains
    if job.rule == ON_GPU:
        return True
    if job.rule == "distil":
        teachers = config.teachers(job.task)
        return len(teachers) > 1 or config.translates_on_gpu(teachers[0].recipe)
    return translates(job.does) and config.translates_on_gpu(job.subject.recipe)
