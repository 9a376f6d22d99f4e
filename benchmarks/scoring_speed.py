"""Scoring speed of nmtprune against stock fairseq-generate, beam 5, on one thread.

    python benchmarks/scoring_speed.py [--checkpoint MODEL.pt --data results/data/TASK/SUBWORDS] [--rounds 5]

Ours is the whole scoring: hypotheses, BLEU, chrF, perplexity and sizes. fairseq-generate needs a second
run for likelihoods (--score-reference), so there are two comparisons: with the run that decodes, and
with both runs. The BLEU of its hypotheses is computed outside the clock.

Runs are interleaved, each in its own process, and the ratio of a round compares neighbours. Times of
whole processes include start-up and loading, times of decoding do not. All times are CPU seconds, which
hardly change when other jobs share the machine. Without a checkpoint, a small model is first trained on
the toy task for about two minutes; a well-trained one is more meaningful (see --checkpoint).
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from measuring import command_line, environment, parse, publish, ratio

from nmtprune.data.corpus import make_corpus
from nmtprune.data.encoded import make_data
from nmtprune.data.subwords import Subwords
from nmtprune.experiment.task import Task
from nmtprune.foundation.files import read_lines

BEAM = 5
TINY = {"rounds": 1, "updates": 2, "sentences": 4}
LAUNCH = "import nmtprune.fairseq_bridge.shim; from fairseq_cli.{tool} import cli_main; cli_main()"
# fairseq's stopwatches are made to count CPU seconds; the time that it prints is that of the search only
LAUNCH_TIMED = "import time, types, nmtprune.fairseq_bridge.shim; from fairseq.logging import meters; \
meters.time = types.SimpleNamespace(perf_counter=time.process_time); \
from fairseq_cli.generate import cli_main; cli_main()"
SCORE = """
import sys
from pathlib import Path
from nmtprune.data.subwords import Subwords
from nmtprune.experiment.search import Search
from nmtprune.store.model import from_checkpoint
from nmtprune.scoring.scorer import Scorer, Translating
checkpoint, data, source, reference, beam, out = sys.argv[1:]
subwords = Subwords.load(Path(data))
how = Translating(search=Search(beam=int(beam)))
scorer = Scorer({"set": (source, reference)}, subwords, subwords.languages[1], how)
print("BLEU", scorer.score(from_checkpoint(checkpoint, Path(data) / "bin"), out)[0]["bleu"])
"""
DECODE = """
import sys, time
from pathlib import Path
from nmtprune.data.subwords import Subwords
from nmtprune.foundation.files import read_lines
from nmtprune.translation.opening import open_engine
from nmtprune.experiment.search import Search
from nmtprune.store.model import from_checkpoint
from nmtprune.translation.batching import translate
checkpoint, data, source, beam = sys.argv[1:]
subwords = Subwords.load(Path(data))
sources = [subwords.encode("source", line).split() for line in read_lines(source)]
engine = open_engine(from_checkpoint(checkpoint, Path(data) / "bin"))
start = time.process_time()
translate(engine, sources, Search(beam=int(beam)))
print("seconds", time.process_time() - start)
"""


@dataclass(frozen=True)
class Run:
    """CPU seconds and detokenised BLEU of one scoring.

    `decoding`: the search only; `whole`: the whole process that decodes; `likelihoods`: the second
    process for likelihoods, if there is one.
    """

    decoding: float
    whole: float
    likelihoods: float
    bleu: float


@dataclass(frozen=True)
class Job:
    """What is scored: a checkpoint on one test set of a folder of encoded data."""

    checkpoint: Path
    data: Path
    test_set: str

    @property
    def subwords(self) -> Subwords:
        return Subwords.load(self.data)

    def text(self, side: int) -> Path:
        """The raw text of the source (side 0) or target (side 1)."""
        return self.data.parent / "text" / f"{self.test_set}.{self.subwords.languages[side]}"


def run_python(code: str, *arguments: object) -> tuple[float, str]:
    """CPU seconds and output of `python -c code arguments` on one thread; raises RuntimeError if it fails."""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    before = _cpu_of_children()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return _cpu_of_children() - before, done.stdout + done.stderr


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_ours(job: Job) -> Run:
    """Score with nmtprune."""
    with tempfile.TemporaryDirectory() as out:
        whole, scored = run_python(SCORE, job.checkpoint, job.data, job.text(0), job.text(1), BEAM, out)
    _, decoded = run_python(DECODE, job.checkpoint, job.data, job.text(0), BEAM)
    seconds, bleu = re.search(r"^seconds (.*)", decoded, re.M), re.search(r"^BLEU (.*)", scored, re.M)
    return Run(float(seconds[1]), whole, 0.0, float(bleu[1]))


def run_fairseq(job: Job) -> Run:
    """Score with fairseq-generate."""
    from nmtprune.scoring.quality import bleu_chrf

    options = [
        "--path",
        job.checkpoint,
        "--gen-subset",
        job.test_set,
        "--beam",
        BEAM,
        "--cpu",
        "--num-workers",
        0,
    ]
    whole, printed = run_python(LAUNCH_TIMED, job.data / "bin", *options)
    likelihoods, _ = run_python(LAUNCH_TIMED, job.data / "bin", *options, "--score-reference")
    seconds = float(re.search(r"Translated [\d,]+ sentences \([\d,]+ tokens\) in ([\d.]+)s", printed)[1])
    pieces = {int(line): text for line, text in re.findall(r"^H-(\d+)\t[^\t]+\t(.*)$", printed, re.M)}
    subwords, references = job.subwords, read_lines(job.text(1))
    hypotheses = [subwords.decode(pieces[index]) for index in range(len(references))]
    return Run(seconds, whole, likelihoods, bleu_chrf(hypotheses, references, subwords.languages[1])["bleu"])


def toy_job(folder: Path, updates: int, sentences: int, layers: int = 3, width: int = 128) -> Job:
    """A pre-norm Transformer of `layers`+`layers` layers of width `width`, trained on the toy task.

    It is trained by fairseq-train. `sentences`: size of the test set; the training set is twelve times
    as large.
    """
    task = Task.over(
        {
            "source": "src",
            "target": "tgt",
            "train": [{"toy": {"sentences": 12 * max(sentences, 100), "seed": 1}}],
            "dev": [{"toy": {"sentences": 200, "seed": 2}}],
            "test": {"test": [{"toy": {"sentences": sentences, "seed": 3}}]},
        }
    )
    data = folder / "subwords"
    make_corpus(task, folder / "text", None, folder / "downloads")
    make_data(task, {"type": "sentencepiece", "size": 600, "joint": True}, folder / "text", data)
    model = {"layers": layers, "embed-dim": width, "ffn-embed-dim": 4 * width, "attention-heads": 4}
    sides = [(f"--{side}-{name}", value) for side in ("encoder", "decoder") for name, value in model.items()]
    training = [
        "--optimizer",
        "adam",
        "--adam-betas",
        "(0.9, 0.98)",
        "--lr",
        4e-3,
        "--lr-scheduler",
        "inverse_sqrt",
        "--clip-norm",
        1,
    ]
    training += [
        "--warmup-updates",
        100,
        "--max-tokens",
        1000,
        "--max-update",
        updates,
        "--label-smoothing",
        0.1,
    ]
    training += [
        "--criterion",
        "label_smoothed_cross_entropy",
        "--arch",
        "transformer",
        "--share-all-embeddings",
    ]
    training += ["--encoder-normalize-before", "--decoder-normalize-before"]
    switches = ["--cpu", "--seed", 1, "--num-workers", 0, "--no-epoch-checkpoints", "--disable-validation"]
    saved = ["--save-dir", folder / "model"]
    run_python(
        LAUNCH.format(tool="train"), data / "bin", *chain.from_iterable(sides), *training, *switches, *saved
    )
    return Job(folder / "model" / "checkpoint_last.pt", data, "test")


def first_test_set(data: Path) -> str:
    """The first test set, by name, of a folder of encoded data."""
    splits = {file.name.split(".")[0] for file in (data / "bin").glob("*.idx")} - {"train", "valid"}
    return min(splits)


def options_of_one_model(description: str, updates: int) -> argparse.ArgumentParser:
    """The command line of a benchmark of one model; `updates`: default for training a small model."""
    parser = command_line(description, rounds=5)
    parser.add_argument("--checkpoint", type=Path, help="default: a small model is trained")
    parser.add_argument("--data", type=Path, help="its results/data/<task>/<subwords> folder")
    parser.add_argument("--set", help="default: the first test set of the data")
    parser.add_argument("--updates", type=int, default=updates, help="training updates of the small model")
    parser.add_argument("--sentences", type=int, default=1000, help="test sentences for the small model")
    return parser


def job_of(options: argparse.Namespace, folder: Path, **small: int) -> Job:
    """The model given in the options, or a small one that is trained in `folder`.

    Exits if only the model or only its data is given.
    """
    if bool(options.checkpoint) != bool(options.data):
        sys.exit("--checkpoint and --data go together")
    if options.checkpoint:
        return Job(options.checkpoint, options.data, options.set or first_test_set(options.data))
    return toy_job(folder, options.updates, options.sentences, **small)


COMPARISONS: dict[str, tuple[Callable[[Run], float], Callable[[Run], float]]] = {
    "decoding": (lambda fairseq: fairseq.decoding, lambda ours: ours.decoding),
    "whole scoring against hypotheses alone": (lambda fairseq: fairseq.whole, lambda ours: ours.whole),
    "whole scoring against hypotheses and likelihoods": (
        lambda fairseq: fairseq.whole + fairseq.likelihoods,
        lambda ours: ours.whole,
    ),
}


def main() -> None:
    options = parse(options_of_one_model(__doc__.splitlines()[0], updates=800), TINY)
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(options, Path(folder))
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append((run_fairseq(job), run_ours(job)))
            for name, run in zip(("fairseq-generate", "nmtprune"), rounds[-1], strict=True):
                times = f"{run.decoding:.2f} s decoding, {run.whole:.2f} s in all"
                second = f", {run.likelihoods:.2f} s for likelihoods" if run.likelihoods else ""
                print(f"round {number}: {name} {times}{second}; BLEU {run.bleu:.2f}", flush=True)
    ratios = {}
    for name, (of_fairseq, of_ours) in COMPARISONS.items():
        ratios[name] = ratio(
            [of_fairseq(fairseq) / of_ours(ours) for fairseq, ours in rounds], BLEU=f"{rounds[0][1].bleu:.1f}"
        )
    publish(ratios, options.json)


if __name__ == "__main__":
    main()
