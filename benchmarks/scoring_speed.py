"""Scoring speed of nmtprune against stock fairseq-generate, beam 5, on one thread.

    python benchmarks/scoring_speed.py [--checkpoint MODEL.pt --data results/data/TASK/SUBWORDS] [--rounds 3]

Ours is the whole scoring: hypotheses, BLEU, chrF, perplexity, sizes. fairseq-generate needs a second run for
likelihoods (--score-reference), so there are two comparisons: with the run that decodes, and with both. Its BLEU is
computed outside the clock.

Runs are interleaved, each in a process of its own, and a round's ratio compares
neighbours. Whole processes hold start-up and loading, decoding alone holds neither. CPU seconds of whole processes are
printed too: they hardly change when other jobs share the machine, which should otherwise be idle. Without a checkpoint
a small model is first trained on the generated task for some two minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "workflow"
sys.path.insert(0, str(PACKAGE))

from nmtprune.data.corpus import make_corpus  # noqa: E402
from nmtprune.data.encoded import make_data  # noqa: E402
from nmtprune.data.subwords import Subwords  # noqa: E402
from nmtprune.files import read_lines  # noqa: E402

BEAM = 5
LAUNCH = "import nmtprune.toolkit.shim; from fairseq_cli.{tool} import cli_main; cli_main()"
SCORE = """
import sys
from pathlib import Path
from nmtprune.data.subwords import Subwords
from nmtprune.scoring.engine import Search
from nmtprune.scoring.model import from_checkpoint
from nmtprune.scoring.score import Scorer
checkpoint, data, source, reference, beam, out = sys.argv[1:]
subwords = Subwords.load(Path(data))
scorer = Scorer({"set": (source, reference)}, subwords, subwords.languages[1], search=Search(beam=int(beam)))
print("BLEU", scorer.score(from_checkpoint(checkpoint, Path(data) / "bin"), out)[0]["bleu"])
"""
DECODE = """
import sys, time
from pathlib import Path
from nmtprune.data.subwords import Subwords
from nmtprune.files import read_lines
from nmtprune.scoring.engine import Search, open_engine
from nmtprune.scoring.model import from_checkpoint
from nmtprune.scoring.translate import translate
checkpoint, data, source, beam = sys.argv[1:]
subwords = Subwords.load(Path(data))
sources = [subwords.encode("source", line).split() for line in read_lines(source)]
engine = open_engine(from_checkpoint(checkpoint, Path(data) / "bin"))
start = time.perf_counter()
translate(engine, sources, Search(beam=int(beam)))
print("seconds", time.perf_counter() - start)
"""


@dataclass(frozen=True)
class Run:
    """Wall and CPU seconds of a whole process, wall seconds of decoding alone, detokenised BLEU."""

    whole: float
    cpu: float
    decoding: float
    bleu: float
    likelihood_whole: float = 0.0  # a second process, where one is needed
    likelihood_cpu: float = 0.0


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
        """The raw text of source (0) or target (1)."""
        return self.data.parent / "text" / f"{self.test_set}.{self.subwords.languages[side]}"


def run_python(code: str, *arguments: object) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and output of `python -c code arguments` on one thread. Raises RuntimeError."""
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    wall, cpu = time.perf_counter(), _cpu_of_children()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall, cpu = time.perf_counter() - wall, _cpu_of_children() - cpu
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return wall, cpu, done.stdout + done.stderr


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_ours(job: Job) -> Run:
    with tempfile.TemporaryDirectory() as out:
        wall, cpu, scored = run_python(SCORE, job.checkpoint, job.data, job.text(0), job.text(1), BEAM, out)
    *_, decoded = run_python(DECODE, job.checkpoint, job.data, job.text(0), BEAM)
    seconds, bleu = re.search(r"^seconds (.*)", decoded, re.M), re.search(r"^BLEU (.*)", scored, re.M)
    return Run(wall, cpu, float(seconds[1]), float(bleu[1]))


def run_fairseq(job: Job) -> Run:
    from nmtprune.scoring.quality import bleu_chrf

    options = ["--path", job.checkpoint, "--gen-subset", job.test_set, "--beam", BEAM, "--cpu", "--num-workers", 0]
    generate = LAUNCH.format(tool="generate")
    wall, cpu, printed = run_python(generate, job.data / "bin", *options)
    *likelihood, _ = run_python(generate, job.data / "bin", *options, "--score-reference")
    seconds = float(re.search(r"Translated [\d,]+ sentences \([\d,]+ tokens\) in ([\d.]+)s", printed)[1])
    pieces = {int(line): text for line, text in re.findall(r"^H-(\d+)\t[^\t]+\t(.*)$", printed, re.M)}
    subwords, references = job.subwords, read_lines(job.text(1))
    hypotheses = [subwords.decode(pieces[index]) for index in range(len(references))]
    bleu = bleu_chrf(hypotheses, references, subwords.languages[1])["bleu"]
    return Run(wall, cpu, seconds, bleu, *likelihood)


def toy_job(folder: Path, updates: int, layers: int = 3, width: int = 128) -> Job:
    """A Transformer of `layers`+`layers` layers, d `width`, trained by fairseq-train on the generated task."""
    task = {
        "source": "src",
        "target": "tgt",
        "train": [{"toy": {"sentences": 12000, "seed": 1}}],
        "dev": [{"toy": {"sentences": 400, "seed": 2}}],
        "test": {"test": [{"toy": {"sentences": 1000, "seed": 3}}]},
    }
    data = folder / "subwords"
    make_corpus(task, folder / "text", None, folder / "downloads")
    make_data(task, {"type": "sentencepiece", "size": 600, "joint": True}, folder / "text", data)
    model = {"layers": layers, "embed-dim": width, "ffn-embed-dim": 4 * width, "attention-heads": 4}
    sides = [(f"--{side}-{name}", value) for side in ("encoder", "decoder") for name, value in model.items()]
    training = ["--optimizer", "adam", "--adam-betas", "(0.9, 0.98)", "--lr", 4e-3, "--lr-scheduler", "inverse_sqrt"]
    training += ["--warmup-updates", 100, "--max-tokens", 2000, "--max-update", updates, "--label-smoothing", 0.1]
    training += ["--criterion", "label_smoothed_cross_entropy", "--arch", "transformer", "--share-all-embeddings"]
    switches = ["--cpu", "--seed", 1, "--num-workers", 0, "--no-epoch-checkpoints", "--save-dir", folder / "model"]
    run_python(LAUNCH.format(tool="train"), data / "bin", *chain.from_iterable(sides), *training, *switches)
    return Job(folder / "model" / "checkpoint_last.pt", data, "test")


def first_test_set(data: Path) -> str:
    """The first test set, by name, of a folder of encoded data."""
    splits = {file.name.split(".")[0] for file in (data / "bin").glob("*.idx")} - {"train", "valid"}
    return min(splits)


def read_options(description: str, **more: int) -> argparse.Namespace:
    """The command line of a benchmark of one model; `more`: numbers of its own, with their defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--checkpoint", type=Path, help="default: a small model is trained")
    parser.add_argument("--data", type=Path, help="its results/data/<task>/<subwords> folder")
    parser.add_argument("--set", help="default: the first test set of the data")
    parser.add_argument("--updates", type=int, default=500, help="of the small model")
    for name, default in {"rounds": 3, **more}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if bool(options.checkpoint) != bool(options.data):
        parser.error("--checkpoint and --data go together")
    return options


def job_of(options: argparse.Namespace, folder: Path, **small: int) -> Job:
    """What is scored: the model that was given, or a small one that is trained in `folder`."""
    if options.checkpoint:
        return Job(options.checkpoint, options.data, options.set or first_test_set(options.data))
    return toy_job(folder, options.updates, **small)


def main() -> None:
    options = read_options(__doc__.splitlines()[0])

    with tempfile.TemporaryDirectory() as folder:
        job = job_of(options, Path(folder))
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append((run_fairseq(job), run_ours(job)))
            for name, run in zip(("fairseq-generate", "nmtprune"), rounds[-1], strict=True):
                times = f"{run.whole:.1f} s ({run.cpu:.1f} s CPU), decoding {run.decoding:.1f} s"
                second = f", likelihoods {run.likelihood_whole:.1f} s ({run.likelihood_cpu:.1f} s CPU)"
                times += second * bool(run.likelihood_whole)
                print(f"round {number}: {name} {times}, BLEU {run.bleu:.2f}", flush=True)
    for what, seconds in (
        ("decoding", lambda run: run.decoding),
        ("whole scoring against hypotheses alone", lambda run: run.whole),
        ("the same, CPU", lambda run: run.cpu),
        ("whole scoring against hypotheses and likelihoods", lambda run: run.whole + run.likelihood_whole),
        ("the same, CPU", lambda run: run.cpu + run.likelihood_cpu),
    ):
        ratio = statistics.median(seconds(stock) / seconds(ours) for stock, ours in rounds)
        print(f"{what}: nmtprune is {ratio:.2f}x as fast (median of {options.rounds} rounds, beam {BEAM}, one thread)")


if __name__ == "__main__":
    main()
