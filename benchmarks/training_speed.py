"""Training speed of nmtprune against stock fairseq, on one thread.

    python benchmarks/training_speed.py [--data BIN] [--dim 128] [--updates 40] [--rounds 3]

Stock is fairseq-train with nothing but the repairs it needs to run; ours is the workflow's own training. Both train the same
model on the same batches; runs are interleaved, and a round's ratio compares neighbours. Start-up
and the first updates are left out. Seconds are the process's CPU time: on one thread of an idle machine that is the
time that passes, and other jobs disturb it less. Without `--data` (a folder made by fairseq's preprocess) random
sentences are used: speed depends only on their lengths and on the vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

PACKAGE = Path(__file__).resolve().parents[1] / "workflow"
VARIANTS = ("fairseq", "nmtprune")
LAUNCH = {
    "preprocess": "import nmtprune.toolkit.shim; from fairseq_cli.preprocess import cli_main; cli_main()",
    "fairseq": "import nmtprune.toolkit.shim; from fairseq_cli.train import cli_main; cli_main()",
}


def command(variant: str, data: Path, options: argparse.Namespace) -> list[str]:
    """The command that trains `options.updates` updates and logs every `options.interval` of them as a line of JSON."""
    if variant == "nmtprune":
        given = {key: value for key, value in vars(options).items() if key not in ("data", "ours")}
        return [sys.executable, "-W", "ignore", __file__, "--ours", json.dumps(given), "--data", str(data)]
    model = {
        f"--{side}-{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "layers": options.layers,
            "embed-dim": options.dim,
            "ffn-embed-dim": 4 * options.dim,
            "attention-heads": options.heads,
        }.items()
    }
    training = {
        "--arch": "transformer",
        "--criterion": "label_smoothed_cross_entropy",
        "--label-smoothing": 0.1,
        "--dropout": options.dropout,
        "--optimizer": "adam",
        "--adam-betas": "(0.9, 0.98)",
        "--lr": 4e-3,
        "--lr-scheduler": "inverse_sqrt",
        "--warmup-updates": 600,
        "--max-tokens": options.max_tokens,
        "--max-update": options.updates,
        "--log-interval": options.interval,
        "--log-format": "json",
        "--num-workers": 0,
        "--seed": 1,
        "--save-dir": Path(tempfile.gettempdir()) / "nmtprune-benchmark",  # fairseq makes it even where nothing is saved
    }
    switches = ["--share-all-embeddings", "--cpu", "--no-save", "--disable-validation"]
    settings = [str(word) for pair in (model | training).items() for word in pair]
    return [sys.executable, "-W", "ignore", "-c", LAUNCH[variant], str(data), *settings, *switches]


def train_ours(data: Path, options: argparse.Namespace) -> None:
    """The workflow's own training on the same data, with a log line as fairseq's in place of each validation."""
    from nmtprune.toolkit import arguments, session
    from nmtprune.training.loop import Training

    class Timed(Training):
        def _validate(self, epoch: int) -> None:
            words = float(self._since_validation["ntokens"]) / options.interval
            print(f"| train_inner | {json.dumps({'wpb': words})}", flush=True)
            self._since_validation["ntokens"] = 0

        def _save(self, batches: object) -> None:
            pass

        def _write(self, path: Path) -> None:
            pass

    architecture = {"name": "transformer", "share_embeddings": "all", "dropout": options.dropout, "heads": options.heads}
    architecture |= {"encoder_layers": options.layers, "decoder_layers": options.layers}
    architecture |= {"embed_dim": options.dim, "ffn_dim": 4 * options.dim}
    schedule = {
        "updates": options.updates,
        "batch_tokens": options.max_tokens,
        "accumulate": 1,
        "precision": "fp32",
        "optimizer": {"name": "adam", "betas": [0.9, 0.98]},
        "learning_rate": {"peak": 4e-3, "warm_up": 600, "decay": "inverse_sqrt"},
        "label_smoothing": 0.1,
        "sentence_average": False,
        "clip_norm": 0,
        "validate_every": options.interval,
        "select": "nll",
        "patience": None,
        "snapshots": [],
    }
    source, target = next(data.glob("train.*-*.*.idx")).name.split(".")[1].split("-")
    words = arguments.of_data(data, source, target)
    trainer = session.start(session.configuration(arguments.of_architecture(architecture), schedule, words, 1, "cpu"), 1)
    with tempfile.TemporaryDirectory() as state:
        Timed(trainer, schedule, Path(state), None, parent_competes=False).run()


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def words_per_second(variant: str, data: Path, options: argparse.Namespace) -> float:
    """Target words per CPU second from the first logged interval's end to the last one's.

    Raises RuntimeError with the end of the log where training fails.
    """
    log, words, first, last = [], 0.0, None, None
    with subprocess.Popen(
        command(variant, data, options), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            log.append(line)
            if "| train_inner | " not in line:
                continue
            times = psutil.Process(process.pid).cpu_times()
            now = times.user + times.system
            stats = json.loads(line.split("| train_inner | ", 1)[1])
            if first is None:
                first = now
            else:
                words += float(stats["wpb"]) * options.interval
            last = now
    if process.returncode or not words:
        raise RuntimeError(f"training with {variant} failed:\n{''.join(log[-20:])}")
    return words / (last - first)


def random_data(folder: Path, types: int, sentences: int = 12000) -> Path:
    """Binarise random sentences: lengths as of short captions, type frequencies as of natural language."""
    draw = random.Random(1)
    names = [f"w{i}" for i in range(types)]
    frequencies = [1 / (rank + 10) for rank in range(types)]
    for split, count in (("train", sentences), ("valid", 100)):
        for side in ("source", "target"):
            lines = [draw.choices(names, frequencies, k=max(3, round(draw.gauss(16, 5)))) for _ in range(count)]
            lines += [names[start : start + 16] for start in range(0, types, 16)]  # every type occurs
            (folder / f"{split}.{side}").write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
    arguments = ["-s", "source", "-t", "target", "--trainpref", folder / "train", "--validpref", folder / "valid"]
    arguments += ["--destdir", folder / "binary", "--joined-dictionary"]
    subprocess.run(
        [sys.executable, "-c", LAUNCH["preprocess"], *map(str, arguments)],
        env=environment(),
        check=True,
        capture_output=True,
    )
    return folder / "binary"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of fairseq's preprocess; default: random sentences")
    parser.add_argument("--types", type=int, default=4000, help="vocabulary of the random sentences")
    parser.add_argument("--updates", type=int, default=40)
    parser.add_argument("--interval", type=int, default=5, help="updates per logged line; the first ones are warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--max-tokens", type=int, default=4096)
    parser.add_argument("--ours", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        train_ours(options.data, argparse.Namespace(**options.ours))
        return
    if options.updates < 2 * options.interval:
        parser.error(f"--updates {options.updates}: at least twice --interval ({options.interval})")

    with tempfile.TemporaryDirectory() as folder:
        data = options.data or random_data(Path(folder), options.types)
        ratios = []
        for number in range(1, options.rounds + 1):
            stock, ours = (words_per_second(variant, data, options) for variant in VARIANTS)
            ratios.append(ours / stock)
            speeds = f"fairseq {stock:.0f} words/s, nmtprune {ours:.0f} words/s"
            print(f"round {number}: {speeds}, {ours / stock:.2f}x", flush=True)
    ratio = statistics.median(ratios)
    print(f"nmtprune trains {ratio:.2f}x as fast (median of {len(ratios)} rounds, d {options.dim}, one thread)")


if __name__ == "__main__":
    main()
