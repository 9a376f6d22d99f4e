"""The time that this machine takes for the parts of a job, measured on made-up sentences.

Plans use it before anything has run. Each recipe is measured in a fork of this process, which has imported
everything (`preload`), just as jobs run in forks; imports are not counted.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.recipe import Recipe
from nmtprune.experiment.schedule import Schedule
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest, read_json, write_json, write_text
from nmtprune.runtime import devices

SENTENCES = 64  # sentences that are translated, in one batch; fewer for a large model
UPDATES = 8  # updates that are timed, after one that is not
SECONDS = 1.5  # a piece of work is not repeated after so long
OPERATIONS = 5e10  # operations of an update or batch; from a larger one a part is timed and scaled up


@dataclass(frozen=True)
class Calibration:
    """Seconds that the parts of a job take: CPU seconds, or wall-clock seconds on a GPU.

    `start`: a training up to its first update; `update`: one batch; `validate`: one sentence; `save`: one
    checkpoint; `open`: opening an engine with the model; `decode`, `trial` (with the beam of `importance`),
    `likelihood` and `judge` (BLEU and chrF): one sentence.
    """

    start: float
    update: float
    validate: float
    save: float
    open: float
    decode: float
    trial: float
    likelihood: float
    judge: float


def identity(config: Config, chain: Chain, gpu: bool, pieces: float) -> str:
    """A digest of what a calibration depends on.

    This is the model's shape, subwords, batches, precision, decoding, length of sentences and device.
    """
    recipe = config.recipe(chain.recipe)
    schedule = config.schedule(chain.recipe, chain.root.schedule)
    batch = {key: schedule.whole[key] for key in ("batch_tokens", "batch_sentences", "optimizer")}
    batch["precision"] = precision.of_schedule(config, chain.recipe, chain.root.schedule).used
    settings = [
        recipe.architecture.said,
        recipe.subwords,
        batch,
        recipe.said.get("decoding"),
        recipe.importance.beam,
    ]
    return digest([settings, gpu, round(pieces), os.cpu_count()])


# A model that is hardly trained, on a few sentences: every job takes at least as long as the same job for
# this model.
TINY = {
    "tasks": {
        "title": "Tiny",
        "source": "src",
        "target": "tgt",
        "train": [{"toy": {"sentences": 400, "seed": 1}}],
        "dev": [{"toy": {"sentences": 32, "seed": 2}}],
        "test": {"test": [{"toy": {"sentences": 32, "seed": 3}}]},
        "probing": {"train": 120, "dev": 100, "test": 100, "hidden": [10], "dropout": [0]},
    },
    "recipes": {
        "extends": "toy",
        "title": "Tiny",
        "subwords": {"type": "sentencepiece", "size": 200, "joint": True},
        "schedules": {
            "train": {
                "updates": 2,
                "learning_rate": {"peak": 0.001, "warm_up": 1, "decay": "inverse_sqrt"},
                "snapshots": [],
            }
        },
    },
}
TINY_MODEL = "tiny/tiny/s1/train"
TINY_JOBS = {
    "text": ("text", "tiny"),
    "data": ("data", "tiny", "sentencepiece-joint-200"),
    "train": ("run", TINY_MODEL),
    "step": ("run", f"{TINY_MODEL}/prune-local-50"),
    "score": ("score", TINY_MODEL),
    "variants": ("variants", TINY_MODEL, "prune-local-50"),
}


def read() -> dict[str, Calibration]:
    """The calibrations that were made on this machine, by identity."""
    return (
        {key: Calibration(**value) for key, value in read_json(paths.CALIBRATIONS).items()}
        if paths.CALIBRATIONS.exists()
        else {}
    )


def calibrate(config: Config, wanted: Iterable[tuple[str, Chain, float]]) -> Iterator[Chain]:
    """Measure recipes, keep the calibrations, and yield each chain when its recipe has been measured.

    `wanted`: for each recipe, the calibration's identity, a chain that begins with a training by the recipe,
    and the mean number of pieces in a sentence. Raises UserError if a recipe cannot be measured.
    """
    context = get_context("fork")
    for key, chain, pieces in wanted:
        queue = context.SimpleQueue()
        process = context.Process(
            target=lambda chain=chain, pieces=pieces, queue=queue: queue.put(_tried(config, chain, pieces))
        )
        process.start()
        measured = queue.get()
        process.join()
        if isinstance(measured, str):
            raise UserError(f"recipe `{chain.recipe}` cannot be measured here: {measured}")
        write_json(
            paths.CALIBRATIONS, {name: asdict(each) for name, each in (read() | {key: measured}).items()}
        )
        yield chain


def run_tiny(device: str, main: Callable[[], int]) -> dict[str, float]:
    """Make, score and analyse a tiny model in the working directory, which must be empty.

    Returns the CPU seconds of each kind of job (wall-clock seconds if the job used a GPU). `main`: runs the
    verb in `sys.argv` and returns the exit status.
    """
    for kind, files in TINY.items():
        write_text(Path("own") / kind / "tiny.yaml", yaml.safe_dump(files))
    settings = ["--set", "own=own", "--set", f"device={device}"]
    seconds = {}
    for name, arguments in (
        TINY_JOBS | {name: ("analyse", name, TINY_MODEL) for name in ANALYSIS_KINDS}
    ).items():
        log = paths.LOGS / f"{name}.log"
        process = get_context("fork").Process(
            target=_as_job, args=(main, [*arguments, *settings, "--cost", str(log)], log)
        )
        process.start()
        process.join()
        if process.exitcode:
            raise UserError(f"a tiny model cannot be made here: {log.read_text().strip().splitlines()[-1]}")
        took = read_json(paths.cost(log))
        seconds[name] = took["seconds"] if "gpu" in took else took["cpu_seconds"]
    shutil.rmtree(paths.COSTS)
    return seconds


def _as_job(main: Callable[[], int], arguments: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["nmtprune", *arguments]
    sys.exit(main())


def _tried(config: Config, chain: Chain, pieces: float) -> Calibration | str:
    try:
        with tempfile.TemporaryDirectory(prefix="nmtprune-calibration-") as folder:
            return _measure(config, chain, max(2, round(pieces)), Path(folder))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _measure(config: Config, chain: Chain, pieces: int, folder: Path) -> Calibration:
    from nmtprune.experiment.search import Search
    from nmtprune.fairseq_bridge import arguments, session
    from nmtprune.scoring.perplexity import likelihood
    from nmtprune.scoring.quality import Quality
    from nmtprune.store import checkpoints
    from nmtprune.store.model import Model, read_dictionary
    from nmtprune.translation.batching import translate
    from nmtprune.translation.opening import open_engine

    recipe, schedule = config.recipe(chain.recipe), config.schedule(chain.recipe, chain.root.schedule)
    types = recipe.subwords["size"]
    for side in ("source", "target"):
        (folder / f"dict.{side}.txt").write_text("".join(f"piece{number} 1\n" for number in range(types)))
    clock = _clock(config.settings["device"])

    began = clock()
    cfg = session.configuration(
        arguments.of_architecture(recipe.architecture),
        schedule.altered(accumulate=1),
        [*arguments.of_data(folder, "source", "target"), "--save-dir", str(folder)],
        1,
        config.settings["device"],
    )
    trainer = session.start(cfg, 1)
    trainer.autocast = precision.of_schedule(config, chain.recipe, chain.root.schedule).autocast
    trainer.optimizer.set_lr(0.0)
    sample, share = _batch(trainer, pieces, _sentences(recipe, schedule, types, pieces))
    trainer.begin_epoch(1)
    trainer.train_step([sample])
    start = clock() - began
    update = _each(lambda: trainer.train_step([sample]), clock, UPDATES) / share
    validate = _each(lambda: _validate(trainer, sample), clock, 2) / len(sample["id"])
    save = _each(
        lambda: checkpoints.save(
            session.checkpoint(trainer.configuration, session.weights(trainer), 1), folder / "model.pt"
        ),
        clock,
        2,
    )

    dictionaries = [read_dictionary(folder / f"dict.{side}.txt") for side in ("source", "target")]
    model = Model(
        session.weights(trainer), checkpoints.options_by_name(trainer.configuration.model), *dictionaries
    )
    names, random_of = model.target_dictionary[4:], random.Random(1)
    search = replace(
        recipe.decoding.search, max_len_a=0.0, max_len_b=pieces
    )  # an untrained model does not stop by itself
    weights = sum(tensor.numel() for tensor in model.weights.values())
    count = max(4, min(SENTENCES, int(OPERATIONS / (2 * weights * pieces * search.beam))))
    sources, targets = ([random_of.choices(names, k=pieces - 1) for _ in range(count)] for _ in range(2))
    began = clock()
    engine = open_engine(model, recipe.decoding.engine, device=config.settings["device"])
    engine.translate(sources[:1], Search(beam=1), 2)
    opened = clock() - began
    decode = _each(lambda: translate(engine, sources, search), clock, 2) / count
    beam = recipe.importance.beam
    trial = (
        decode
        if beam == search.beam
        else _each(lambda: translate(engine, sources, replace(search, beam=beam)), clock, 2) / count
    )
    likelihoods = _each(lambda: likelihood(engine, sources, targets), clock, 2) / count
    lines = [" ".join(line) for line in targets]
    quality = Quality(lines)
    judge = _each(lambda: quality.scores(lines[1:] + lines[:1]), clock, 2) / count
    return Calibration(start, update, validate, save, opened, decode, trial, likelihoods, judge)


def _clock(device: str) -> Callable[[], float]:
    import torch

    def on_gpu() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return on_gpu if devices.torch_device(device) == "cuda" else time.process_time


def _each(work: Callable[[], Any], clock: Callable[[], float], times: int) -> float:
    """The median time of a piece of work in seconds.

    The first time is not counted, unless it took so long that it is the only one.
    """
    taken: list[float] = []
    while len(taken) <= times and sum(taken) < SECONDS:
        began = clock()
        work()
        taken.append(clock() - began)
    counted = sorted(taken[1:] or taken)
    return counted[len(counted) // 2]


def _sentences(recipe: Recipe, schedule: Schedule, types: int, pieces: int) -> tuple[int, float]:
    """How many sentences of a batch are timed, and their share of the batch."""
    whole = max(1, schedule.batch_tokens // pieces)
    if schedule.batch_sentences:
        whole = min(whole, schedule.batch_sentences)
    weights = recipe.architecture.parameter_count((types, types))
    tried = max(1, min(whole, int(OPERATIONS / (6 * (weights or 1) * pieces))))
    return tried, tried / whole


def _batch(trainer: Any, pieces: int, taken: tuple[int, float]) -> tuple[dict[str, Any], float]:
    """A batch of random sentences in the form of fairseq's batches, and its share of a whole batch."""
    import torch

    sentences, share = taken
    dictionary = trainer.task.target_dictionary
    generator = torch.Generator().manual_seed(1)
    source, target = (
        torch.randint(4, len(dictionary), (sentences, pieces), generator=generator) for _ in range(2)
    )
    source[:, -1] = target[:, -1] = dictionary.eos()
    sample = {
        "id": torch.arange(sentences),
        "nsentences": sentences,
        "ntokens": sentences * pieces,
        "net_input": {
            "src_tokens": source,
            "src_lengths": torch.full((sentences,), pieces),
            "prev_output_tokens": target.roll(1, dims=1),
        },
        "target": target,
    }
    return sample, share


def _validate(trainer: Any, sample: dict[str, Any]) -> None:
    import torch

    trainer.model.eval()
    prepared, _ = trainer._prepare_sample(sample)
    with torch.no_grad(), trainer.keep_casts():
        trainer.task.valid_step(prepared, trainer.model, trainer.criterion)
