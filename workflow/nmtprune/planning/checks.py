"""Checks before a run begins, so that no work is lost because something is missing.

Whatever cannot work is refused in one sentence.

* `of_run`: checks of the configuration alone, when it is read; `of_task` checks one task.
* `before_jobs`: checks of this machine and of the files that a run begins with, before the first job.

`data.encoded` checks a text once it is segmented, and `steps.lengths` whether its sentences fit a model. How
to check for a library or a file is up to the module that uses it: metrics, sources, engines and steps have a
function `unavailable`, or raise the error themselves.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

from nmtprune.data import corpus
from nmtprune.data.subwords import segmenter
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.imports import MARIAN_PIECES, Import
from nmtprune.experiment.run import Run
from nmtprune.experiment.subwords import kind_of, marked_as
from nmtprune.foundation.errors import UserError, suggest
from nmtprune.foundation.files import read_lines
from nmtprune.foundation.known import known
from nmtprune.planning import disk_usage, freeing
from nmtprune.planning.jobs import Jobs
from nmtprune.runtime import devices
from nmtprune.scoring import comet
from nmtprune.store import marian_settings

MOST_CODES = 8  # most codes of target languages that a message lists
LIBRARIES = {
    "tensorboard": "tensorboard",
    "mtdata": "mtdata",
    "shortlist": "thot",
}  # the setting that needs a library -> the library's module


def of_run(config: Config, chains: Iterable[Chain], scored: Iterable[Chain]) -> None:
    """Raises UserError if the configuration asks for data, models or scores that cannot be made."""
    chains, scored = list(chains), list(scored)
    for task in sorted({chain.task for chain in chains}):
        of_task(config, task)
    for chain in chains:
        for ancestor in chain.ancestors():
            if ancestor.last.kind.trains:
                _training(config, ancestor)
    for name, task in sorted(
        {(chain.root["name"], chain.task) for chain in chains if chain.root.kind.imports}
    ):
        _given(config, name, task)
    for recipe in sorted({chain.recipe for chain in scored if not chain.root.kind.imports}):
        _decoding(config, recipe)
    for chain in scored:
        if chain.quantised_for == "onnx" and config.recipe(chain.recipe).decoding.replace_unknowns:
            raise UserError(
                f"chain `{chain}`: ONNX Runtime does not replace unknown words, as recipe `{chain.recipe}` "
                "asks; valid: int8-ctranslate2"
            )
    if config.settings["tensorboard"]:
        _library("tensorboard", "config")
    _metrics(config, sorted({chain.task for chain in scored}))


def of_task(config: Config, name: str) -> None:
    """Raises UserError if no text can be made from a task's languages and sources."""
    task, where = config.task(name), f"tasks/{name}.yaml"
    if task.source == task.target:
        raise UserError(
            f"{where}: source and target are both `{task.source}`, but each side needs files of its own: "
            f"rename one of them, such as to `{task.target}_simple`, and name its files (files: "
            f"{{{task.source}: ..., {task.target}_simple: ...}})"
        )
    for split, sources in task.sources.items():
        generated = ["toy" in source for source in sources]
        if any(generated) and not all(generated):
            raise UserError(
                f"{where}: {split}: a set has either only `toy` sources, which come with labels, or none; "
                "remove the `toy` sources or the others"
            )
        for source in sources:
            if "mtdata" in source:
                _library("mtdata", f"{where}: {split}")
    if unknown := next((each for each in task.references if each not in task.tests), None):
        raise UserError(f"{where}: references: unknown test set `{unknown}`; {suggest(unknown, task.tests)}")
    corpus.own_files(task, config.data_dir)


def _library(what: str, where: str) -> None:
    package = {"thot": "sil-thot"}.get(LIBRARIES[what], LIBRARIES[what])
    if importlib.util.find_spec(LIBRARIES[what]) is None:
        raise UserError(f"{where}: `{what}` needs a library that is not installed: pip install {package}")


def _training(config: Config, chain: Chain) -> None:
    """Raises UserError for half precision without a GPU.

    Whether there is a GPU, here or on the cluster, is up to the setting `device`.
    """
    if (
        config.settings["device"] == "cpu"
        and config.schedule(chain.recipe, chain.last.schedule).precision == "fp16"
    ):
        raise UserError(
            f"{config.library.place('recipes', chain.recipe)}: schedules.{chain.last.schedule}: "
            "precision `fp16` needs a GPU, and `device` is cpu; "
            "valid there: auto, bf16, fp32"
        )


def _decoding(config: Config, recipe: str) -> None:
    """Raises UserError if no engine can decode the models of a recipe as the recipe asks."""
    where = f"{config.library.place('recipes', recipe)}: decoding"
    decoding, architecture = config.recipe(recipe).decoding, config.recipe(recipe).architecture
    engine = decoding.engine
    if engine in ("ctranslate2", "onnx") and not architecture.is_transformer:
        raise UserError(
            f"{where}: engine `{engine}` runs only Transformers, and the recipe has "
            f"`{architecture.name}`; valid: auto, fairseq"
        )
    if engine == "ctranslate2" and architecture.has_ssru:
        raise UserError(
            f"{where}: engine `ctranslate2` does not support the recipe's SSRU; valid: auto, onnx, fairseq"
        )
    if decoding.replace_unknowns and (engine == "onnx" or (engine == "auto" and architecture.has_ssru)):
        raise UserError(
            f"{where}: ONNX Runtime, which would run this recipe, does not support replace_unknowns; valid: "
            "engine fairseq"
        )
    if decoding.shortlist:
        _library("shortlist", where)


def _metrics(config: Config, tasks: Iterable[str]) -> None:
    """Raises UserError if a library is missing that scores translations into the tasks' target languages."""
    from nmtprune.scoring import quality  # noqa: PLC0415 - sacreBLEU takes tenths of a second

    if config.settings["comet_model"] and (reason := comet.unavailable(config.settings["comet_model"])):
        raise UserError(f"config: comet_model: {reason}; set it to null to score without COMET")
    for task in tasks:
        if reason := quality.unavailable(config.task(task).target):
            raise UserError(f"tasks/{task}.yaml: {reason}")


def _given(config: Config, name: str, task: str) -> None:
    """Raises UserError if dictionaries of an imported model are missing, or do not fit its subwords."""
    given = config.imported(name)
    if given.marian is not None:
        _marian(given, f"config: imports.{name}")
        return
    kind = kind_of(given.subwords)
    for language in config.task(task).languages:
        file = Path(known(given.dictionaries)) / f"dict.{language}.txt"
        if not file.is_file():
            raise UserError(
                f"config: imports.{name}.dictionaries: there is no {file}, the dictionary of `{language}`"
            )
        try:
            wanted = marked_as(read_lines(file))
        except UnicodeDecodeError:
            raise UserError(
                f"config: imports.{name}.dictionaries: {file} is not UTF-8, as fairseq writes dictionaries"
            ) from None
        if wanted and kind != wanted:
            needs = {
                "sentencepiece": "the SentencePiece model (a file *.model)",
                "bpe": "the file of BPE codes",
            }[wanted]
            raise UserError(
                f"config: imports.{name}.subwords: {file} holds pieces of {wanted}, and "
                f"{given.subwords or 'null'} gives {kind}; "
                f"name {needs} that the model was trained with"
            )


def _marian(given: Import, where: str) -> None:
    """Raises UserError if a Marian model lacks a file, or its settings and vocabularies do not fit."""
    folder = Path(known(given.marian))
    if missing := next((name for name in MARIAN_PIECES if not (folder / name).is_file()), None):
        raise UserError(f"{where}.marian: there is no {folder / missing}")
    source, _ = marian_settings.read_vocabularies(folder, marian_settings.read_shape(folder))
    valid = marian_settings.codes(source)
    if given.target_code in valid or (given.target_code is None and not valid):
        return
    if given.target_code is None:
        raise UserError(
            f"{where}: the model writes several languages; say which by `target_code`, such as "
            f"{', '.join(valid[:MOST_CODES])}"
        )
    raise UserError(
        f"{where}.target_code: `{given.target_code}` is not a piece of the model; "
        f"{suggest(given.target_code, valid)}"
    )


def before_jobs(run: Run, chains: Iterable[Chain], makes: Iterable[Path], at_once: int, here: bool) -> None:
    """Raises UserError if this machine, or a file that the run begins with, lacks something that is needed.

    `makes`: the outputs of the run's jobs; `at_once`: how many jobs run at a time; `here`: whether they run
    on this machine.
    """
    makes = list(makes)
    config, jobs = run.config, Jobs(run)
    disk_usage.check_room(jobs, at_once)
    freeing.check_weights(jobs, makes)
    _pieces(config, makes)
    if here and config.settings["device"] == "cuda" and not devices.devices():
        devices.torch_device("cuda")
    _imports(config, [chain for chain in chains if chain.root.kind.imports])


def _pieces(config: Config, makes: Iterable[Path]) -> None:
    """Raises UserError if spBLEU is to be scored and its SentencePiece model cannot be had."""
    scores = any(file.name in (paths.SCORES, paths.VARIANTS) for file in makes)
    if scores and "spbleu" in config.settings["measures"]:
        from nmtprune.scoring import quality  # noqa: PLC0415 - sacreBLEU takes some tenths of a second

        quality.obtain_spbleu_model(config.data_dir, paths.DOWNLOADS)


def _imports(config: Config, chains: Sequence[Chain]) -> None:
    """Raises UserError for imported subwords or checkpoints that are not what they should be.

    This includes models that are not Transformers, if a step needs one.
    """
    transformers = {}
    for name in sorted({chain.root["name"] for chain in chains}):
        from nmtprune.fairseq_bridge import imports  # noqa: PLC0415 - fairseq takes seconds
        from nmtprune.store import checkpoints  # noqa: PLC0415 - PyTorch takes seconds

        given = config.imported(name)
        if given.subwords:
            segmenter(kind_of(given.subwords), Path(given.subwords))
        if given.marian:
            for file in MARIAN_PIECES:
                segmenter("sentencepiece", Path(given.marian) / file)
        cfg = imports.read_import(given)["cfg"]
        transformers[name] = checkpoints.is_transformer(checkpoints.options_by_name(cfg.model))
    for chain in chains:
        step = next((step for step in chain.steps if step.kind.of_transformers), None)
        if step and not transformers[chain.root["name"]]:
            raise UserError(
                f"chain `{chain}`: `{step}` needs a Transformer, and the model of `{chain.root}` is not one"
            )
