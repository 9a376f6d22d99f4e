"""Every file name under results/, relative to the working directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nmtprune.foundation.errors import UserError

if TYPE_CHECKING:
    from nmtprune.experiment.chain import Chain

RESULTS = Path("results")
MODELS = RESULTS / "models"
SPEED = RESULTS / "speed"
DATA = RESULTS / "data"
DOWNLOADS = DATA / "downloads"
ORIGINS = RESULTS / "origins"
LOGS = RESULTS / "logs"
COSTS = RESULTS / "costs"
EVENTS = RESULTS / "tensorboard"
CALIBRATIONS, LEAST_COSTS = (
    COSTS / "calibration.json",
    COSTS / "least.json",
)  # what plans go by where nothing has run yet
RUN_LOCK = ".run.lock"  # in the folder of results, held by the run that works on it

MODEL, LAST, INITIAL, MASK = "model.pt", "last.pt", "initial.pt", "mask.pt"
MANIFEST, HISTORY, PROGRESS = "manifest.json", "history.csv", "progress.json"
SCORES, VARIANTS = "scores.csv", "variants.csv"
SENTENCES, SENTENCES_OF_VARIANTS = "sentences.npz", "variants.npz"
NORMS = "norms.npz"
CLAIMS, CLAIMS_TABLE = "claims.md", "claims.csv"  # beside a page
COMPLETE = "complete"  # beside a page that Snakemake made when all was there
UNIT = (
    "unit.json"  # beside the models of a kept unit: the sha256 of each of its files, by its path from there
)
COUNTS = "counts.csv"  # beside a text: how many pairs were read, kept and dropped
SUBWORDS = "subwords.json"  # beside subword models: their settings
# in `state`: what locks and names a step, what it goes on from, what is kept of its scores, probes and trials
LOCK, DIGEST, RESUME, KEPT = ".lock", "digest", "resume.pt", "kept"
KEPT_SCORES, KEPT_PROBES, TRIALS = "scores.json", "probes.json", "trials.jsonl"
BESIDE_A_MANIFEST = (
    MODEL,
    LAST,
    INITIAL,
    MASK,
    HISTORY,
    NORMS,
)  # what a step leaves with it, as far as it leaves that


def text(task: str) -> Path:
    """Cleaned parallel text of a task."""
    return DATA / task / "text"


def data(task: str, subwords: str) -> Path:
    """A task's text in subwords: the subword model and fairseq's binarised data."""
    return DATA / task / subwords


def binarised(data_folder: Path) -> Path:
    return data_folder / "bin"


MOST_FREQUENT = (
    100  # target pieces that are candidates everywhere, where a shortlist's name does not say how many
)


def shortlist(data_folder: Path, top: int, frequent: int = MOST_FREQUENT) -> Path:
    """The lexical shortlist of a task's text in subwords, with so many candidates for each source piece, and
    so many everywhere.
    """
    return data_folder / f"shortlist-{top}{'' if frequent == MOST_FREQUENT else f'+{frequent}'}.npz"


def candidates(text: str) -> tuple[int, int]:
    """How many candidates a shortlist has for each source piece, and how many everywhere: `50`, or `50+200`.
    Raises UserError for any other text.
    """
    written = re.fullmatch(r"([1-9][0-9]*)(?:\+([1-9][0-9]*))?", text)
    if not written:
        raise UserError(
            f"shortlist: `{text}` is no number of candidates; write it as 50, or as 50+200 with the most "
            "frequent pieces"
        )
    return int(written[1]), int(written[2] or MOST_FREQUENT)


def model(chain: Chain) -> Path:
    return MODELS / str(chain)


def unit(chain: Chain) -> Path:
    """The folder of all that is made of one task, recipe and seed, below the folder of models:
    `<task>/<recipe>/s<seed>`.
    """
    return Path(chain.task, chain.recipe, f"s{chain.seed}")


def manifest(chain: Chain) -> Path:
    return model(chain) / MANIFEST


def state(directory: Path) -> Path:
    """What a step needs to resume or to restore its outputs; never declared to Snakemake, which deletes what
    is declared.
    """
    return directory / "state"


def snapshots(directory: Path) -> Path:
    """The checkpoints of a training step part of the way through."""
    return directory / "snapshots"


def snapshot(directory: Path, percent: str) -> Path:
    """The checkpoint of a training step after this share of its updates."""
    return snapshots(directory) / f"{percent}.pt"


def folder_of(file: Path) -> Path:
    """The directory of the step that a checkpoint is of."""
    return file.parents[1] if file.parent.name == snapshots(file.parent).name else file.parent


def checkpoint_of(chain: Chain) -> Path:
    """The checkpoint a chain's weights come from: its own, or that of the model it selects from."""
    return next(
        file
        for ancestor in chain.ancestors()
        if not ancestor.last.kind.selects and (file := model(ancestor) / MODEL)
    )


def first_weights(chain: Chain) -> Path:
    """The weights that a chain's first training began with."""
    return model(chain.root_chain) / INITIAL


def hypotheses(chain: Chain, test_set: str) -> Path:
    return model(chain) / "hypotheses" / f"{test_set}.txt"


def scores(chain: Chain) -> Path:
    """The table that holds a chain's scores: its own, or its parent's table of variants where its last step
    only selects.
    """
    if chain.last.kind.selects and chain.parent:
        return model(chain.parent) / VARIANTS
    return model(chain) / SCORES


def sentences(chain: Chain) -> Path:
    """Beside a chain's scores: the statistics of every sentence that they come from
    (`scoring.sentence_statistics`).
    """
    table = scores(chain)
    return table.with_name(SENTENCES_OF_VARIANTS if table.name == VARIANTS else SENTENCES)


def analysis(chain: Chain, name: str) -> Path:
    """The numbers of an analysis of a model; arrays, where there are any, lie beside it as `.npz`."""
    return model(chain) / f"{name}.csv"


def arrays(numbers: Path) -> Path:
    """The arrays that an analysis leaves beside its numbers."""
    return numbers.with_suffix(".npz")


def shard(chain: Chain, part: str) -> Path:
    """Says that a part of an analysis' trials, shared out over jobs, is done."""
    return model(chain) / "shards" / f"{part}.json"


def speed(preset: str, task: str) -> Path:
    """The speed of a task's models, measured by one job."""
    return SPEED / preset / f"{task}.csv"


def kept_speed(table: Path) -> Path:
    """What was measured for a table of speeds, by digest."""
    return state(table.parent) / f"{table.stem}.json"


def left_out(table: Path) -> Path:
    """Beside a table of speeds: which engines did not take which models, and why."""
    return table.with_suffix(".left_out.csv")


def norms(chain: Chain) -> Path:
    """The norms of the groups that `slice` judged, and where it cut."""
    return model(chain) / NORMS


def history(chain: Chain) -> Path:
    return model(chain) / HISTORY


def events(chain: Chain) -> Path:
    """The folder of a training's TensorBoard events."""
    return EVENTS / model(chain).relative_to(MODELS)


def log(made: Path) -> Path:
    """What the job that makes a directory, or a table or a shortlist in one, prints: where the rules send
    it.
    """
    name = f"{made.parent}.{made.stem}.log" if made.suffix in (".csv", ".npz") else f"{made}.log"
    return LOGS / Path(name).relative_to(RESULTS)


def cost(log: Path) -> Path:
    """What a rule's job has cost, by the name of its log."""
    return COSTS / log.relative_to(LOGS).with_suffix(".json")


def origin(made: Path) -> Path:
    """The note of what a file was made from (`nmtprune.store.current`)."""
    return ORIGINS / f"{made.relative_to(RESULTS)}.json"


def noted(origin: Path) -> Path:
    """The file that a note speaks of."""
    return RESULTS / origin.relative_to(ORIGINS).with_suffix("")


def page(preset: str) -> Path:
    return RESULTS / preset


def item(preset: str, paper: str, name: str, extension: str) -> Path:
    """A rendered table or figure."""
    return page(preset) / paper / f"{name}.{extension}"


def chain_text(path: str) -> str:
    """The address in the name of a model's directory, or of a file in it:
    `<task>/<recipe>/s<seed>/<steps>`.
    """
    address = path.removeprefix(f"{MODELS}/").rstrip("/")
    parent, _, name = address.rpartition("/")
    return parent if name.endswith((".pt", ".csv", ".json", ".npz")) else address
