"""What a run needs, asked before work is lost to its lack: all that can be refused is refused here, each in a sentence.

* `of_run`: what the configuration alone tells, as it is read; of one task `of_task`.
* `before_jobs`: what this machine and the files that a run begins with tell, before the first job.
* `of_data`: what a text tells once it is in pieces, before anything is trained on it.
* `of_lengths`: what a text's lengths tell once a model's positions are known: before its first update, or as it is imported.

Who uses what is asked for here knows how to ask: metrics, sources, engines and steps have an `unavailable`, or raise their sentence.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nmtprune import free, launch, paths, space
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.data import corpus
from nmtprune.data.subwords import SIDES, kind_of, marked_as, segmenter
from nmtprune.errors import UserError
from nmtprune.files import read_lines
from nmtprune.pruning import shapes
from nmtprune.scoring import comet

# the most unknown pieces of a set, as a part of all, by the kind of subwords: of a model from elsewhere, and beyond those of its
# training data of our own
UNKNOWN_OF_GIVEN = {"sentencepiece": 0.05, "bpe": 0.05, "words": 0.2}
UNKNOWN_BEYOND_TRAINING = {"sentencepiece": 0.2, "bpe": 0.2, "words": 0.5}
LIBRARIES = {"mtdata": "mtdata", "shortlist": "thot"}  # what asks for it -> the module


def of_run(config: Config, chains: Iterable[Chain], scored: Iterable[Chain]) -> None:
    """Raises UserError where data, models or scores that are asked for cannot be had, as far as the configuration tells."""
    chains, scored = list(chains), list(scored)
    for task in sorted({chain.task for chain in chains}):
        of_task(config, task)
    for chain in chains:
        for ancestor in chain.ancestors():
            if ancestor.last.family.trains:
                _training(config, ancestor)
    for name, task in sorted({(chain.root["name"], chain.task) for chain in chains if chain.root.family.name == "import"}):
        _given(config, name, task)
    for recipe in sorted({chain.recipe for chain in scored if chain.root.family.name != "import"}):
        _decoding(config, recipe)
    for chain in scored:
        if chain.quantised_for == "onnx" and config.search(chain.recipe).get("replace_unknowns"):
            raise UserError(
                f"chain `{chain}`: ONNX Runtime does not replace unknown words, as recipe `{chain.recipe}` asks; valid: int8-ctranslate2"
            )
    _metrics(config, sorted({chain.task for chain in scored}))


def of_task(config: Config, name: str) -> None:
    """Raises UserError where a task's languages or sources cannot make a text."""
    task, where = config.task(name), f"tasks/{name}.yaml"
    if task["source"] == task["target"]:
        raise UserError(
            f"{where}: source and target are both `{task['source']}`, and each side has files of its own: call one of them otherwise, as "
            f"`{task['target']}_simple`, and name its files (files: {{{task['source']}: ..., {task['target']}_simple: ...}})"
        )
    for split, sources in corpus.sources_of(task).items():
        generated = ["toy" in source for source in sources]
        if any(generated) and not all(generated):
            raise UserError(
                f"{where}: {split}: a set is all of `toy` sources, which come with labels, or all of others; take `toy` away, or the rest"
            )
        for source in sources:
            if "mtdata" in source:
                _library("mtdata", f"{where}: {split}")
    corpus.own_files(task, config.data_dir)


def _library(what: str, where: str) -> None:
    package = {"thot": "sil-thot"}.get(LIBRARIES[what], LIBRARIES[what])
    if importlib.util.find_spec(LIBRARIES[what]) is None:
        raise UserError(f"{where}: `{what}` needs a library that is not installed: pip install {package}")


def _training(config: Config, chain: Chain) -> None:
    """Half precision is a GPU's; the cluster's or this machine's is what `device` speaks of."""
    if config.settings["device"] == "cpu" and config.schedule(chain.recipe, chain.last.schedule)["precision"] == "fp16":
        raise UserError(
            f"recipes/{chain.recipe}.yaml: schedules.{chain.last.schedule}: precision `fp16` needs a GPU, and `device` is cpu; "
            "valid there: auto, bf16, fp32"
        )


def _decoding(config: Config, recipe: str) -> None:
    """What no engine can do with the models of a recipe."""
    whole, where = config.recipe(recipe), f"recipes/{recipe}.yaml: decoding"
    decoding, architecture = whole.get("decoding", {}), whole["architecture"]
    engine = decoding.get("engine", "auto")
    if engine in ("ctranslate2", "onnx") and not shapes.is_transformer(architecture):
        raise UserError(f"{where}: engine `{engine}` runs Transformers, and the recipe has `{architecture['name']}`; valid: auto, fairseq")
    if engine == "ctranslate2" and architecture.get("decoder_self") == "ssru":
        raise UserError(f"{where}: engine `ctranslate2` does not know the recipe's SSRU; valid: auto, onnx, fairseq")
    replaces = decoding.get("replace_unknowns")
    if replaces and (engine == "onnx" or (engine == "auto" and architecture.get("decoder_self") == "ssru")):
        raise UserError(f"{where}: replace_unknowns is not for ONNX Runtime, which would run this recipe; valid: engine fairseq")
    if decoding.get("shortlist"):
        _library("shortlist", where)


def _metrics(config: Config, tasks: Iterable[str]) -> None:
    """What measures translations must be installed for the languages it is to read."""
    from nmtprune.scoring import quality  # sacreBLEU takes some tenths of a second

    if config.settings["comet_model"] and (reason := comet.unavailable(config.settings["comet_model"])):
        raise UserError(f"config: comet_model: {reason}; null scores without COMET")
    for task in tasks:
        if reason := quality.unavailable(config.task(task)["target"]):
            raise UserError(f"tasks/{task}.yaml: {reason}")


def _given(config: Config, name: str, task: str) -> None:
    """Dictionaries that came with a checkpoint, and the subwords that they are of."""
    given = config.imported(name)
    kind = kind_of(given.get("subwords"))
    for language in corpus.languages_of(config.task(task)):
        file = Path(given["dictionaries"]) / f"dict.{language}.txt"
        if not file.is_file():
            raise UserError(f"config: imports.{name}.dictionaries: there is no {file}, the dictionary of `{language}`")
        try:
            wanted = marked_as(read_lines(file))
        except UnicodeDecodeError:
            raise UserError(f"config: imports.{name}.dictionaries: {file} is not UTF-8, as fairseq writes dictionaries") from None
        if wanted and kind != wanted:
            needs = {"sentencepiece": "the SentencePiece model (a file *.model)", "bpe": "the file of BPE codes"}[wanted]
            raise UserError(
                f"config: imports.{name}.subwords: {file} holds pieces of {wanted}, and {given.get('subwords') or 'null'} gives {kind}; "
                f"name {needs} that the model was trained with"
            )


def before_jobs(config: Config, chains: Iterable[Chain], makes: Iterable[Path], at_once: int, here: bool) -> None:
    """Raises UserError where a run that is about to begin lacks something of this machine, or of the files that it begins with.

    `makes`: the outputs of its jobs, `at_once` of which run at a time; `here`: on this machine.
    """
    space.check_room(config, at_once)
    free.check_weights(config, makes)
    if here and config.settings["device"] == "cuda" and not launch.devices():
        launch.torch_device("cuda")
    _imports(config, [chain for chain in chains if chain.root.family.name == "import"])


def _imports(config: Config, chains: Sequence[Chain]) -> None:
    """What imported checkpoints and subwords are not."""
    transformers = {}
    for name in sorted({chain.root["name"] for chain in chains}):
        from nmtprune import models  # PyTorch and fairseq take seconds
        from nmtprune.toolkit import imports

        given = config.imported(name)
        if given.get("subwords"):
            segmenter(kind_of(given["subwords"]), Path(given["subwords"]))
        cfg = imports.read(Path(given["checkpoint"]), given.get("trust", False))["cfg"]
        transformers[name] = models.is_transformer(models.options_by_name(cfg.model))
    for chain in chains:
        step = next((step for step in chain.steps if step.family.of_transformers), None)
        if step and not transformers[chain.root["name"]]:
            raise UserError(f"chain `{chain}`: `{step}` needs a Transformer, and what `{chain.root}` imports is none")


def of_data(task: Mapping[str, Any], settings: Mapping[str, Any], kind: str, unknown: Mapping[str, Mapping[str, float]]) -> None:
    """Raises UserError where the pieces of a set are not those of its dictionary. `kind`: of subwords; `unknown`: parts of all pieces by
    split and language."""
    given = settings["type"] == "given"
    for split, shares in unknown.items():
        for language, share in shares.items():
            if given and share > UNKNOWN_OF_GIVEN[kind]:
                dictionary, model = Path(settings["dictionaries"]) / f"dict.{language}.txt", settings.get("model") or "null"
                raise UserError(
                    f"import `{settings['name']}`: {share:.0%} of the pieces of `{split}` ({language}) are unknown to {dictionary}, where "
                    f"{UNKNOWN_OF_GIVEN[kind]:.0%} are the most; was the model trained with other subwords than `subwords: {model}`?"
                )
            if not given and share - unknown["train"][language] > UNKNOWN_BEYOND_TRAINING[kind]:
                raise UserError(
                    f"task `{task['title']}`: {share:.0%} of the pieces of `{split}` ({language}) are unknown, and "
                    f"{unknown['train'][language]:.0%} of the training data's: is the set in another language, script or encoding?"
                )


def of_lengths(config: Config, chain: Chain, positions: Sequence[int], limits: Sequence[int] | None = None) -> None:
    """Raises UserError where a line of a development or test set has more pieces than the model has `positions` [source, target], end of
    sentence included, or where training is to leave out all pairs.

    `limits` [source, target]: what a side of a training pair may have; a batch must hold each side of the development set too.
    """
    from nmtprune.toolkit.binarise import lengths  # fairseq's library takes seconds

    task, folder = config.task(chain.task), paths.binarised(config.data_folder(chain))
    languages = (task["source"], task["target"])
    for split in ("dev", *task["test"]):
        room = config.schedule(chain.recipe, chain.last.schedule)["batch_tokens"] if limits is not None and split == "dev" else None
        for side, sizes, most in zip(SIDES, lengths(folder, split, languages), positions, strict=True):
            limit = min(most, room or most)
            if len(sizes) and sizes.max() > limit:
                line, pieces = int(sizes.argmax()) + 1, int(sizes.max())
                why = f"a batch takes {limit} (batch_tokens)" if limit < most else f"the model has positions for {limit}"
                raise UserError(
                    f"task `{task['title']}`: line {line} of the {side} side of `{split}` has {pieces} pieces, end of sentence included, "
                    f"and {why}: shorten the line"
                )
    if limits is None:
        return
    source, target = lengths(folder, "train", languages)
    fitting = (source <= limits[0]) & (target <= limits[1])
    left_out = len(fitting) - int(fitting.sum())
    where = f"recipes/{chain.recipe}.yaml: schedules.{chain.last.schedule}"
    most = f"{limits[0]}" if limits[0] == limits[1] else f"{limits[0]} (source) or {limits[1]} (target)"
    if left_out == len(fitting):
        raise UserError(
            f"{where}: each of the {len(fitting)} training pairs has a side of more than {most} pieces, the most that batch_tokens, "
            "max_length and the model's positions allow: raise batch_tokens, or split the lines"
        )
    if left_out:
        print(f"{left_out:,} of {len(fitting):,} training pairs are left out: a side has more than {most} pieces", flush=True)
