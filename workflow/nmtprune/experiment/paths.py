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
# Costs that plans use before anything has run.
CALIBRATIONS, LEAST_COSTS = COSTS / "calibration.json", COSTS / "least.json"
RUN_LOCK = ".run.lock"  # in the folder of results, held by the current run

MODEL, LAST, INITIAL, MASK = "model.pt", "last.pt", "initial.pt", "mask.pt"
MANIFEST, HISTORY, PROGRESS = "manifest.json", "history.csv", "progress.json"
SCORES, VARIANTS = "scores.csv", "variants.csv"
SENTENCES, SENTENCES_OF_VARIANTS = "sentences.npz", "variants.npz"
NORMS = "norms.npz"
INDEX = "index.html"  # a page
CLAIMS, CLAIMS_TABLE = "claims.md", "claims.csv"  # beside a page
REPORT = "report.rst"  # beside a page: the front of Snakemake's report
MODEL_PAGES = "pages"  # beside a page: the folder of the pages of its models
COMPLETE = "complete"  # beside a page that Snakemake made from complete results
UNIT = "unit.json"  # beside the models of a kept unit: sha256 of its files by relative path
COUNTS = "counts.csv"  # beside a text: numbers of pairs that were read, kept and dropped
SUBWORDS = "subwords.json"  # beside subword models: their settings
# In `state`: lock and digest of a step, the checkpoint it resumes from, and stored scores, probes and trials.
LOCK, DIGEST, RESUME, KEPT = ".lock", "digest", "resume.pt", "kept"
KEPT_SCORES, KEPT_PROBES, TRIALS = "scores.json", "probes.json", "trials.jsonl"
# Files that a step may leave beside its manifest.
BESIDE_A_MANIFEST = (MODEL, LAST, INITIAL, MASK, HISTORY, NORMS)


def text(task: str) -> Path:
    """The folder of a task's cleaned parallel text."""
    return DATA / task / "text"


def reference(text: Path, split: str, language: str, number: int = 1) -> Path:
    """A set's references by their number, counted from 1: the target side of the text is the first one."""
    return text / (f"{split}.{language}" if number == 1 else f"{split}.{language}.{number}")


def data(task: str, subwords: str) -> Path:
    """The folder of a task's text in subwords: the subword model and fairseq's binarised data."""
    return DATA / task / subwords


def binarised(data_folder: Path) -> Path:
    """The folder of binarised data in a folder of data."""
    return data_folder / "bin"


# Number of most frequent target pieces that are always candidates, unless a shortlist's name gives it.
MOST_FREQUENT = 100


def shortlist(data_folder: Path, top: int, frequent: int = MOST_FREQUENT) -> Path:
    """The lexical shortlist of a task's text in subwords.

    `top`: candidates of each source piece; `frequent`: most frequent pieces that are always candidates.
    """
    return data_folder / f"shortlist-{top}{'' if frequent == MOST_FREQUENT else f'+{frequent}'}.npz"


def candidates(text: str) -> tuple[int, int]:
    """Read the size of a shortlist, `50` or `50+200`: candidates of each source piece, and of every batch.

    Raises UserError for any other text.
    """
    written = re.fullmatch(r"([1-9][0-9]*)(?:\+([1-9][0-9]*))?", text)
    if not written:
        raise UserError(
            f"shortlist: `{text}` is not a number of candidates; write it as 50, or as 50+200 with the most "
            "frequent pieces"
        )
    return int(written[1]), int(written[2] or MOST_FREQUENT)


def model(chain: Chain) -> Path:
    """The directory of a model."""
    return MODELS / str(chain)


def unit(chain: Chain) -> Path:
    """The relative folder of all models of one task, recipe and seed: `<task>/<recipe>/s<seed>`."""
    return Path(chain.task, chain.recipe, f"s{chain.seed}")


def manifest(chain: Chain) -> Path:
    """The manifest of a model."""
    return model(chain) / MANIFEST


def state(directory: Path) -> Path:
    """The folder with what a step needs to resume or to restore its outputs.

    It is not declared to Snakemake, which would delete it.
    """
    return directory / "state"


def snapshots(directory: Path) -> Path:
    """The folder of a training step's snapshots."""
    return directory / "snapshots"


def snapshot(directory: Path, percent: str) -> Path:
    """The checkpoint of a training step after `percent` of its updates."""
    return snapshots(directory) / f"{percent}.pt"


def folder_of(file: Path) -> Path:
    """The directory of the step that a checkpoint belongs to."""
    return file.parents[1] if file.parent.name == snapshots(file.parent).name else file.parent


def checkpoint_of(chain: Chain) -> Path:
    """The checkpoint of a chain's weights: its own, or that of the model it selects from."""
    return next(
        file
        for ancestor in chain.ancestors()
        if not ancestor.last.kind.selects and (file := model(ancestor) / MODEL)
    )


def first_weights(chain: Chain) -> Path:
    """The initial weights of a chain's first training."""
    return model(chain.root_chain) / INITIAL


def hypotheses(chain: Chain, test_set: str) -> Path:
    """The translations of a test set by a model."""
    return model(chain) / "hypotheses" / f"{test_set}.txt"


def scores(chain: Chain) -> Path:
    """The table with a chain's scores.

    It is the model's own table, or its parent's table of variants if its last step only selects weights.
    """
    if chain.last.kind.selects and chain.parent:
        return model(chain.parent) / VARIANTS
    return model(chain) / SCORES


def sentences(chain: Chain) -> Path:
    """Statistics of each sentence, beside a chain's scores (see `scoring.sentence_statistics`)."""
    table = scores(chain)
    return table.with_name(SENTENCES_OF_VARIANTS if table.name == VARIANTS else SENTENCES)


def analysis(chain: Chain, name: str) -> Path:
    """The numbers of an analysis of a model."""
    return model(chain) / f"{name}.csv"


def arrays(numbers: Path) -> Path:
    """The arrays of an analysis, beside its numbers."""
    return numbers.with_suffix(".npz")


def shard(chain: Chain, part: str) -> Path:
    """The mark that a shard of an analysis's trials is done."""
    return model(chain) / "shards" / f"{part}.json"


def speed(preset: str, task: str) -> Path:
    """The speed of a task's models, measured by one job."""
    return SPEED / preset / f"{task}.csv"


def kept_speed(table: Path) -> Path:
    """Stored measurements for a table of speeds, by digest."""
    return state(table.parent) / f"{table.stem}.json"


def left_out(table: Path) -> Path:
    """The models that engines do not support, with reasons, beside a table of speeds."""
    return table.with_suffix(".left_out.csv")


def norms(chain: Chain) -> Path:
    """The norms of the groups that `slice` judged, and its cuts."""
    return model(chain) / NORMS


def history(chain: Chain) -> Path:
    """The history of a training."""
    return model(chain) / HISTORY


def events(chain: Chain) -> Path:
    """The folder of a training's TensorBoard events."""
    return EVENTS / model(chain).relative_to(MODELS)


def log(made: Path) -> Path:
    """The log of the job that makes a directory, or a table or shortlist in one."""
    name = f"{made.parent}.{made.stem}.log" if made.suffix in (".csv", ".npz") else f"{made}.log"
    return LOGS / Path(name).relative_to(RESULTS)


def cost(log: Path) -> Path:
    """The cost of a rule's job, from the name of its log."""
    return COSTS / log.relative_to(LOGS).with_suffix(".json")


def origin(made: Path) -> Path:
    """The note that says what a file was made from (`nmtprune.store.current`)."""
    return ORIGINS / f"{made.relative_to(RESULTS)}.json"


def noted(origin: Path) -> Path:
    """The file that a note is about."""
    return RESULTS / origin.relative_to(ORIGINS).with_suffix("")


def page(preset: str) -> Path:
    """The folder of a run's page."""
    return RESULTS / preset


def model_page(preset: str, chain: Chain) -> Path:
    """The page of a model of a run."""
    return page(preset) / MODEL_PAGES / f"{chain}.html"


def item(preset: str, paper: str, name: str, extension: str) -> Path:
    """A rendered table or figure."""
    return page(preset) / paper / f"{name}.{extension}"


def chain_text(path: str) -> str:
    """The address in the path of a model's directory or of a file in it."""
    address = path.removeprefix(f"{MODELS}/").rstrip("/")
    parent, _, name = address.rpartition("/")
    return parent if name.endswith((".pt", ".csv", ".json", ".npz")) else address
