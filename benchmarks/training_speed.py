"""Training speed of nmtprune against stock fairseq, on one thread.

    python benchmarks/training_speed.py [--model transformer|lstm] [--dim 128] [--precision fp32 bf16]
    [--rounds 5] [--device cpu|cuda]

Stock is fairseq-train in single precision with only the repairs that it needs to run. Ours is the
workflow's own training step with an ordinary recipe. Both train on the same data in batches of the same
size. A Transformer is the same model in both; the LSTM of See et al. is compared with fairseq's own
`lstm` of the same width, depth and vocabulary. Runs are interleaved, each in its own process, and the
ratio of a round compares neighbours. Start-up and the first updates are left out.

Times are CPU seconds of the process: with one thread on an idle machine they equal the time that passes,
and other jobs disturb them less. On a GPU, times are the time that passes until it has finished, and
stock fairseq trains in half precision when our training is in fp16. `share of the peak` compares our
training's matrix products with the machine's peak (gemm_peak.py, same round, same precision). Without
`--data` (a folder made by fairseq's preprocess), random sentences are used: speed depends only on the
vocabulary and on sentence lengths, which are those of Multi30k's pairs (or, with `--lengths
independent`, unrelated on the two sides).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import operations
import torch
import yaml
from gemm_peak import peak
from measuring import WORKFLOW, command_line, environment, parse, publish, ratio

from nmtprune.experiment import paths
from nmtprune.experiment.architecture import Architecture
from nmtprune.experiment.chain import parse as parse_chain
from nmtprune.experiment.config import Config, from_settings
from nmtprune.fairseq_bridge import arguments
from nmtprune.foundation.files import read_json, write_json, write_text

STOCK = "fairseq"
PREPROCESS = "import nmtprune.fairseq_bridge.shim; from fairseq_cli.preprocess import cli_main; cli_main()"
CHAIN = "benchmark/benchmark/s1/train"
SCHEDULE = json.loads((WORKFLOW / "schemas" / "schedule.schema.json").read_text())["$defs"]["keys"][
    "properties"
]
PRECISIONS = SCHEDULE["precision"]["enum"]
DEFAULT_PRECISION = "auto"
GEMM_PRECISION = {"fp32": "float32", "bf16": "bfloat16"}
SECONDS_OF_GEMM = 0.1  # for each shape in each round
# Defaults of options for each model.
DEFAULTS = {
    "transformer": {"dim": 128, "ffn": None, "layers": 3, "dropout": 0.1, "types": 4000, "max_tokens": 4096},
    "lstm": {"dim": 160, "ffn": None, "layers": 4, "dropout": 0.2, "types": 5000, "max_tokens": 2048},
}


def recipe_of(options: argparse.Namespace) -> dict[str, Any]:
    """A recipe for the workflow; other settings come from the recipe that it extends and from the schema."""
    size = {
        "encoder_layers": options.layers,
        "decoder_layers": options.layers,
        "embed_dim": options.dim,
        "dropout": options.dropout,
    }
    rates = {"peak": 1e-3, "warm_up": 1, "decay": "constant"}
    recipe = {
        "title": "Benchmark",
        "training": {
            "batch_tokens": options.max_tokens,
            "validate_every": options.updates,
            "clip_norm": options.clip_norm,
        },
        "schedules": {"train": {"updates": options.updates, "learning_rate": rates}},
    }
    if options.model == "lstm":
        return recipe | {"extends": "tiny-lstm", "architecture": size}
    attention = {"heads": options.heads, "ffn_dim": options.ffn or 4 * options.dim, "share_embeddings": "all"}
    return recipe | {"extends": "transformer", "architecture": size | attention}


def workplace(folder: Path, options: argparse.Namespace) -> Config:
    """Set up a folder in which the workflow trains CHAIN on the data of `options`."""
    languages = next(options.data.glob("train.*-*.*.idx")).name.split(".")[1].split("-")
    sample = [{"toy": {"sentences": 1, "seed": 1}}]  # never read, since the data are binarised already
    task = {
        "title": "Benchmark",
        "source": languages[0],
        "target": languages[1],
        "train": sample,
        "dev": sample,
        "test": {"test": sample},
    }
    for kind, value in (("tasks", task), ("recipes", recipe_of(options))):
        write_text(folder / "own" / kind / "benchmark.yaml", yaml.safe_dump(value))
    config = from_settings({"own": str(folder / "own"), "device": options.device})
    binarised = folder / paths.binarised(config.data_folder(parse_chain(CHAIN)))
    binarised.mkdir(parents=True)
    for file in options.data.resolve().iterdir():
        (binarised / file.name).symlink_to(file)
        # nothing is tested, but a training reads the lengths of a test set
        if file.name.startswith("valid."):
            (binarised / file.name.replace("valid.", "test.", 1)).unlink(missing_ok=True)
            (binarised / file.name.replace("valid.", "test.", 1)).symlink_to(file)
    return config


def stock_arguments(config: Config, data: Path, options: argparse.Namespace) -> list[str]:
    """The arguments of fairseq-train for the same training as the recipe's."""
    task, architecture = config.task("benchmark"), config.recipe("benchmark").architecture
    schedule = config.schedule("benchmark", "train")
    training = arguments.of_schedule(schedule)
    if schedule.label_smoothing:
        training += ["--criterion", "label_smoothed_cross_entropy"]
    else:
        place = training.index("--label-smoothing")
        training[place : place + 2] = ["--criterion", "cross_entropy"]
    training += ["--lr", str(schedule.learning_rate.highest), "--num-workers", "0", "--seed", "1"]
    # fairseq makes the folder of its checkpoints even if nothing is saved
    training += [
        "--save-dir",
        str(data.parent / "checkpoints"),
        *(["--cpu"] if options.device == "cpu" else ["--fp16"] if options.precision == ["fp16"] else []),
        "--no-save",
        "--disable-validation",
        "--log-interval",
        "1000000",
    ]
    model = _stock_lstm(architecture) if options.model == "lstm" else arguments.of_architecture(architecture)
    return [*arguments.of_data(data, *task.languages), *model, *training]


def _stock_lstm(architecture: Architecture) -> list[str]:
    """Options of fairseq's own LSTM of the same size, whose attention is fed back into the decoder."""
    width = dict.fromkeys(
        ("encoder-embed-dim", "encoder-hidden-size", "decoder-embed-dim", "decoder-hidden-size"),
        architecture.embed_dim,
    )
    more = {"decoder-out-embed-dim": architecture.embed_dim, "dropout": architecture.dropout}
    layers = {
        "encoder-layers": architecture.encoder_layers,
        "decoder-layers": architecture.decoder_layers,
    }
    return [
        "--arch",
        "lstm",
        *(word for name, value in (width | more | layers).items() for word in (f"--{name}", str(value))),
    ]


def work(job: dict[str, Any]) -> None:
    """Train in this process, and write the rates of the updates after the first `warm_up` to `job["out"]`."""
    import nmtprune.fairseq_bridge.shim  # noqa: F401  (the only part of ours in a stock training)

    # isort: split
    import time

    from fairseq.trainer import Trainer

    plain_step, seen = Trainer.train_step, []

    def train_step(self: Trainer, samples: list, *args: Any, **kwargs: Any) -> Any:
        result = plain_step(self, samples, *args, **kwargs)
        words, flops = 0, 0
        for sample in samples:
            words += int(sample["ntokens"])
            (sentences, source), target = sample["net_input"]["src_tokens"].shape, sample["target"].shape[1]
            flops += operations.of_update(
                job["architecture"], len(self.task.target_dictionary), sentences, source, target
            )
        if job["device"] == "cuda":
            torch.cuda.synchronize()
        clock = time.perf_counter if job["device"] == "cuda" else time.process_time
        seen.append({"seconds": clock(), "words": words, "flops": flops})
        return result

    Trainer.train_step = train_step
    torch.set_num_threads(1)
    precision = "fp32"
    if job["variant"] == STOCK:
        from fairseq_cli.train import cli_main

        sys.argv = ["fairseq-train", *job["arguments"]]
        cli_main()
    else:
        precision = _train_ours(job["settings"], job["variant"])
    if len(seen) != job["updates"]:
        raise RuntimeError(
            f"{job['variant']} made {len(seen)} updates by Trainer.train_step, not {job['updates']}"
        )
    timed = seen[job["warm_up"] :]
    seconds = seen[-1]["seconds"] - seen[job["warm_up"] - 1]["seconds"]
    rates = {
        f"{what}_per_second": sum(update[what] for update in timed) / seconds for what in ("words", "flops")
    }
    write_json(job["out"], rates | {"precision": precision})


def _train_ours(settings: dict[str, Any], precision: str) -> str:
    """Train CHAIN in the working directory like a job of the workflow; return the precision that was used."""
    from nmtprune.steps import training

    recipe = Path(settings["own"]) / "recipes" / "benchmark.yaml"
    said = yaml.safe_load(recipe.read_text())
    said["training"]["precision"] = precision
    write_text(recipe, yaml.safe_dump(said))
    config, chain = from_settings(settings), parse_chain(CHAIN)
    with tempfile.TemporaryDirectory(dir=".") as state:
        facts = training.make(config, chain, Path(state))
    return facts.get("precision", precision)


def measure(variant: str, config: Config, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Target words and operations for each CPU second of one training, and the precision it used.

    Raises RuntimeError with the end of the log if training fails.
    """
    job = {
        "variant": variant,
        "updates": options.updates,
        "warm_up": options.warm_up,
        "architecture": config.recipe("benchmark").architecture.said,
        "settings": dict(config.settings),
        "arguments": stock_arguments(config, options.data, options),
        "device": options.device,
        "out": str(folder / "rates.json"),
    }
    write_json(folder / "job.json", job)
    command = [
        sys.executable,
        "-W",
        "ignore",
        str(Path(__file__).resolve()),
        "--worker",
        str(folder / "job.json"),
    ]
    done = subprocess.run(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"training with {variant} failed:\n{done.stdout[-4000:]}")
    return read_json(folder / "rates.json")


def random_data(folder: Path, types: int, joined: bool, sentences: int, lengths: str) -> Path:
    """Binarise random sentences with the lengths of Multi30k and the type frequencies of natural language.

    `lengths`: `paired` for the correlation of 0.84 between source and target in Multi30k, or
    `independent`, which gives more padding.
    """
    draw = random.Random(1)
    names = [f"w{i}" for i in range(types)]
    frequencies = [1 / (rank + 10) for rank in range(types)]
    for split, count in (("train", sentences), ("valid", 100)):
        sources = [max(3.0, draw.gauss(15.7, 5.6)) for _ in range(count)]
        targets = [max(3.0, 1.1 + length + draw.gauss(0, 3.6)) for length in sources]
        if lengths == "independent":
            draw.shuffle(targets)
        for side, drawn in (("source", sources), ("target", targets)):
            lines = [draw.choices(names, frequencies, k=round(length)) for length in drawn]
            lines += [names[start : start + 16] for start in range(0, types, 16)]  # every type occurs
            (folder / f"{split}.{side}").write_text(
                "".join(" ".join(line) + "\n" for line in lines), encoding="utf-8"
            )
    given = ["-s", "source", "-t", "target", "--trainpref", folder / "train", "--validpref", folder / "valid"]
    given += ["--destdir", folder / "binary", *["--joined-dictionary"] * joined]
    subprocess.run(
        [sys.executable, "-c", PREPROCESS, *map(str, given)],
        env=environment(),
        check=True,
        capture_output=True,
    )
    return folder / "binary"


def read_options() -> argparse.Namespace:
    """Read the options from the command line."""
    parser = command_line(__doc__.splitlines()[0], rounds=5)
    parser.add_argument("--data", type=Path, help="folder of fairseq's preprocess; default: random sentences")
    parser.add_argument(
        "--model",
        choices=DEFAULTS,
        default="transformer",
        help="lstm: nmtprune_lstm against fairseq's own lstm",
    )
    parser.add_argument("--types", type=int, help="vocabulary of the random sentences")
    parser.add_argument("--sentences", type=int, default=12000, help="how many random sentences")
    parser.add_argument(
        "--lengths",
        choices=("paired", "independent"),
        default="paired",
        help="lengths of random sources and targets",
    )
    parser.add_argument("--dim", type=int, help="width of embeddings and hidden states")
    parser.add_argument("--ffn", type=int, help="width of the feed-forward layers; default: four times --dim")
    parser.add_argument("--layers", type=int, help="layers of the encoder, and of the decoder")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--dropout", type=float)
    parser.add_argument("--clip-norm", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, help="tokens in a batch")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=[DEFAULT_PRECISION],
        help="precisions of our trainings",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--updates", type=int, default=70)
    parser.add_argument(
        "--warm-up",
        type=int,
        default=40,
        help="first updates, which are not timed: memory grows and kernels are compiled",
    )
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    tiny = {
        "dim": 16,
        "layers": 1,
        "heads": 2,
        "types": 100,
        "sentences": 300,
        "max_tokens": 200,
        "updates": 6,
        "warm_up": 2,
        "rounds": 1,
    }
    options = parse(parser, tiny)
    for name, value in DEFAULTS[options.model].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if "fp16" in options.precision and options.device == "cpu":
        parser.error(
            "--precision fp16: half precision needs --device cuda; valid on the CPU: auto, bf16, fp32"
        )
    if not 0 < options.warm_up < options.updates:
        parser.error(f"--warm-up {options.warm_up}: at least 1 and fewer than --updates ({options.updates})")
    return options


def results(name: str, rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The ratio of each of our trainings to stock, from the rates of each round by variant."""
    ratios = {}
    for variant in (variant for variant in rounds[0] if variant != STOCK):
        used = rounds[0][variant]["precision"]
        said = variant if used == variant else f"{variant}: {used}"
        speed = {
            who: statistics.median(rates[who]["words_per_second"] for rates in rounds)
            for who in (STOCK, variant)
        }
        more = {"fairseq, words/s": f"{speed[STOCK]:,.0f}", "nmtprune, words/s": f"{speed[variant]:,.0f}"}
        if "share" in rounds[0][variant]:
            more["share of the peak"] = (
                f"{100 * statistics.median(rates[variant]['share'] for rates in rounds):.0f} %"
            )
        ratios[f"{name}, {said}"] = ratio(
            [rates[variant]["words_per_second"] / rates[STOCK]["words_per_second"] for rates in rounds],
            **more,
        )
    return ratios


def main() -> None:
    options = read_options()
    if options.worker:
        work(read_json(options.worker))
        return
    torch.set_num_threads(1)
    name = (
        f"{'LSTM, n' if options.model == 'lstm' else 'Transformer, d'} {options.dim}, "
        f"{options.layers}+{options.layers} layers"
    )
    name += f", {options.types:,} types, batches of {options.max_tokens:,} tokens"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options.data = options.data or random_data(
            folder, options.types, options.model == "transformer", options.sentences, options.lengths
        )
        config = workplace(folder, options)
        rounds = []
        for number in range(1, options.rounds + 1):
            rates = {
                variant: measure(variant, config, folder, options) for variant in (STOCK, *options.precision)
            }
            for variant in options.precision:
                in_gemm = (
                    None if options.device == "cuda" else GEMM_PRECISION.get(rates[variant]["precision"])
                )
                if in_gemm:
                    rates[variant]["share"] = rates[variant]["flops_per_second"] / (
                        1e9 * peak(in_gemm, SECONDS_OF_GEMM)
                    )
            rounds.append(rates)
            speeds = (f"{variant} {rate['words_per_second']:.0f} words/s" for variant, rate in rates.items())
            print(f"round {number}: {', '.join(speeds)}", flush=True)
    publish(results(name, rounds), options.json)


if __name__ == "__main__":
    main()
