"""The parts of a job, timed one by one with an untrained model on made-up sentences."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.recipe import Recipe
from nmtprune.experiment.schedule import Schedule
from nmtprune.experiment.search import Search
from nmtprune.experiment.subwords import SIDES
from nmtprune.fairseq_bridge import arguments, precision, session
from nmtprune.planning.calibration import Calibration
from nmtprune.runtime import devices
from nmtprune.scoring.perplexity import likelihood
from nmtprune.scoring.quality import Quality
from nmtprune.store import checkpoints
from nmtprune.store.model import Model, read_dictionary
from nmtprune.translation.batching import translate
from nmtprune.translation.opening import open_engine

SENTENCES = 64  # sentences that are translated, in one batch; fewer for a large model
UPDATES = 8  # updates that are timed, after one that is not
SECONDS = 1.5  # a piece of work is not repeated after so long
OPERATIONS = 5e10  # operations of an update or batch; from a larger one a part is timed and scaled up


def measure(config: Config, chain: Chain, pieces: int, folder: Path) -> Calibration:
    """Measure the parts of a job for the model of a chain and sentences of `pieces` pieces.

    `folder`: where files of the measurement are written.
    """
    for side in SIDES:
        numbers = range(config.recipe(chain.recipe).subwords["size"])
        (folder / f"dict.{side}.txt").write_text("".join(f"piece{number} 1\n" for number in numbers))
    clock = _clock(config.settings["device"])
    trainer, of_training = _training(config, chain, pieces, folder, clock)
    dictionaries = [read_dictionary(folder / f"dict.{side}.txt") for side in SIDES]
    options = checkpoints.options_by_name(trainer.configuration.model)
    model = Model(session.weights(trainer), options, *dictionaries)
    return Calibration(*of_training, *_translating(config, chain, pieces, model, clock))


def _training(
    config: Config, chain: Chain, pieces: int, folder: Path, clock: Callable[[], float]
) -> tuple[session.Trainer, tuple[float, ...]]:
    """An untrained model in its trainer, and what a calibration says of training, in its order."""
    recipe, schedule = config.recipe(chain.recipe), config.schedule(chain.recipe, chain.root.schedule)
    began = clock()
    cfg = session.configuration(
        arguments.of_architecture(recipe.architecture),
        schedule.altered(accumulate=1),
        [*arguments.of_data(folder, *SIDES), "--save-dir", str(folder)],
        1,
        config.settings["device"],
    )
    trainer = session.start(cfg, 1)
    trainer.autocast = precision.of_schedule(config, chain.recipe, chain.root.schedule).autocast
    sample, share = _batch(trainer, pieces, _sentences(recipe, schedule, recipe.subwords["size"], pieces))
    trainer.begin_epoch(1)

    def train_step() -> None:
        trainer.optimizer.set_lr(0.0)  # each update ends with the rate of a scheduler of fairseq
        trainer.train_step([sample])

    def save() -> None:
        checkpoint = session.checkpoint(trainer.configuration, session.weights(trainer), 1)
        checkpoints.save(checkpoint, folder / "model.pt")

    train_step()
    start = clock() - began
    update = _each(train_step, clock, UPDATES) / share
    validate = _each(lambda: _validate(trainer, sample), clock, 2) / len(sample["id"])
    return trainer, (start, update, validate, _each(save, clock, 2))


def _translating(
    config: Config, chain: Chain, pieces: int, model: Model, clock: Callable[[], float]
) -> tuple[float, ...]:
    """What a calibration says of translating and scoring with a model, in its order."""
    recipe = config.recipe(chain.recipe)
    names, random_of = model.target_dictionary[4:], random.Random(1)
    # an untrained model does not stop by itself
    search = replace(recipe.decoding.search, max_len_a=0.0, max_len_b=pieces)
    weights = sum(tensor.numel() for tensor in model.weights.values())
    count = max(4, min(SENTENCES, int(OPERATIONS / (2 * weights * pieces * search.beam))))
    sources, targets = ([random_of.choices(names, k=pieces - 1) for _ in range(count)] for _ in range(2))
    began = clock()
    engine = open_engine(model, recipe.decoding.engine, device=config.settings["device"])
    engine.translate(sources[:1], Search(beam=1), 2)
    opened = clock() - began

    def each(work: Callable[[], object]) -> float:
        return _each(work, clock, 2) / count

    decode = trial = each(lambda: translate(engine, sources, search))
    if (beam := recipe.importance.beam) != search.beam:
        trial = each(lambda: translate(engine, sources, replace(search, beam=beam)))
    likelihoods = each(lambda: likelihood(engine, sources, targets))
    lines = [" ".join(line) for line in targets]
    quality = Quality(lines)
    judge = each(lambda: quality.scores(lines[1:] + lines[:1]))
    return opened, decode, trial, likelihoods, judge


def _clock(device: str) -> Callable[[], float]:
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
    trainer.model.eval()
    prepared, _ = trainer._prepare_sample(sample)
    with torch.no_grad(), trainer.keep_casts():
        trainer.task.valid_step(prepared, trainer.model, trainer.criterion)
