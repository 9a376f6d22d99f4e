"""The time that this machine takes for the parts of a job, measured on made-up sentences.

Plans use it before anything has run. Each recipe is measured in a fork of this process, which has imported
everything (`preload`), just as jobs run in forks; imports are not counted.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import yaml

from nmtprune.experiment import paths
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest, read_json, write_json, write_text


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
        from nmtprune.planning import measuring  # noqa: PLC0415 - fairseq takes seconds

        with tempfile.TemporaryDirectory(prefix="nmtprune-calibration-") as folder:
            return measuring.measure(config, chain, max(2, round(pieces)), Path(folder))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
