"""Run every benchmark and write docs/performance.md.

    python benchmarks/report.py [--rounds 1] [--tiny] [--only NAME ...] [--no-run]

Each benchmark runs in its own process, one after the other; the machine should be idle. Results are
stored as `results/benchmarks/<name>.json`, so that `--only` can repeat some benchmarks and `--no-run`
only writes the page. The page never mixes results of different machines or versions.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import environment, instruction_sets

import nmtprune
from nmtprune.fairseq_bridge.precision import multiplies_bfloat16
from nmtprune.foundation import versions
from nmtprune.foundation.files import read_json, write_json, write_text
from nmtprune.speed.protocol import cpu_model

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "fairseq", "ctranslate2", "onnxruntime", "pymarian")


@dataclass(frozen=True)
class Benchmark:
    """A section of the page: its title and text, and the command whose ratios it shows."""

    name: str
    title: str
    text: str
    script: str
    arguments: tuple[str, ...] = ()


def _training(name: str, title: str, text: str, *arguments: str) -> Benchmark:
    precisions = ("fp32", "bf16") if multiplies_bfloat16("cpu") else ("fp32",)
    return Benchmark(name, title, text, "training_speed.py", (*arguments, "--precision", *precisions))


BENCHMARKS = (
    Benchmark(
        "gemm",
        "Matrix products",
        "Products of a batch of 4,096 tokens with the matrices of small Transformers, by PyTorch.",
        "gemm_peak.py",
    ),
    _training(
        "training-128",
        "Training, d 128",
        "Target words for each CPU second over those of stock fairseq, which trains in single precision; "
        "whole updates on the same data. "
        "The share of the peak is how much of this machine's peak the matrix products of our training reach, "
        "measured in the same rounds.",
    ),
    _training(
        "training-128-independent",
        "Training, d 128, unrelated lengths",
        "The same with unrelated lengths of source and target: more of each batch is padding, which we leave "
        "out.",
        *("--lengths", "independent"),
    ),
    _training(
        "training-256",
        "Training, d 256",
        "The same at twice the width.",
        "--dim",
        "256",
        "--updates",
        "45",
        "--warm-up",
        "30",
    ),
    _training(
        "training-64",
        "Training, d 64",
        "The same at the size of the recipe `toy` and with its batches.",
        *(
            "--dim",
            "64",
            "--ffn",
            "128",
            "--layers",
            "2",
            "--types",
            "700",
            "--max-tokens",
            "600",
            "--dropout",
            "0",
            "--clip-norm",
            "1",
        ),
        *("--updates", "400", "--warm-up", "100"),
    ),
    _training(
        "training-lstm",
        "Training, LSTM",
        "The LSTM of See et al. (`nmtprune_lstm`) against fairseq's own `lstm` of the same size, which also "
        "feeds the attention back into "
        "the decoder.",
        *("--model", "lstm"),
    ),
    Benchmark(
        "scoring",
        "Scoring",
        "Translating and scoring a test set against stock fairseq-generate, by the same model.",
        "scoring_speed.py",
    ),
    Benchmark(
        "ablations",
        "Ablations, beam 5",
        "Ablated variants of a model evaluated in a CPU minute, against a process of fairseq-generate for "
        "each variant.",
        "ablation_speed.py",
    ),
    Benchmark(
        "ablations-greedy", "Ablations, greedy", "The same with beam 1.", "ablation_speed.py", ("--beam", "1")
    ),
    Benchmark(
        "shapes",
        "Decoding by shape",
        "The shapes of Behnke and Heafield (2021) at d 256 with random weights, in batches of 32 on one "
        "core, against the dense model of "
        "the same depth in float32 in the same engine; and our engines against Marian where pymarian is "
        "installed.",
        "shape_speed.py",
    ),
    Benchmark(
        "scale",
        "Steps at full scale",
        "Peak memory of each step on masks and files for Transformer base (108.6M parameters), in multiples "
        "of its size in float32.",
        "base_scale.py",
    ),
    Benchmark(
        "marian",
        "A model of OPUS-MT",
        "Peak memory of each step on a Marian model (6+6 layers, d 512, 58,101 pieces, random weights), from "
        "import to export, in multiples of its size in float32. PyTorch and fairseq are in it (`nothing`).",
        "marian_scale.py",
    ),
)
INTRODUCTION = """`make bench` writes this page: it runs every script in `benchmarks/`, one after the other,
on a machine that should be idle; `make bench ROUNDS=1` is done sooner. A ratio is the median over interleaved
rounds: peers take turns on the same data with the same number of threads, and each round compares
neighbours."""


def machine() -> dict[str, Any]:
    """What results depend on besides the code: processor, instruction sets, threads and versions."""
    installed = {
        distribution.metadata["Name"]: distribution.version
        for distribution in importlib.metadata.distributions()
    }
    recorded = {name: versions.of(name) for name in PACKAGES if name in installed}
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "instruction_sets": instruction_sets(),
        "bfloat16": multiplies_bfloat16("cpu"),
        "threads": 1,
        "versions": {"nmtprune": nmtprune.__version__, "python": platform.python_version(), **recorded},
    }


def run(benchmark: Benchmark, more: Sequence[str]) -> dict[str, Any]:
    """Run a benchmark; return its results, command, date and machine.

    Raises CalledProcessError if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        command = [benchmark.script, *benchmark.arguments, *more]
        print(f"== {benchmark.title}: {shlex.join(command)}", flush=True)
        subprocess.run(
            [sys.executable, HERE / command[0], *command[1:], "--json", file], env=environment(), check=True
        )
        return {
            "command": shlex.join(command),
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "results": read_json(file),
        }


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """The page in Markdown, from the records of benchmarks by name.

    Raises ValueError if the records are from different machines.
    """
    parts = ["# Performance", INTRODUCTION]
    if records:
        machines = {name: record["machine"] for name, record in records.items()}
        first, *_ = machines
        if other := next((name for name, each in machines.items() if each != machines[first]), None):
            raise ValueError(
                f"`{first}` and `{other}` were measured on different machines or with different versions: "
                "run both again"
            )
        parts.append(_about_machine(machines[first], records))
    for benchmark in BENCHMARKS:
        parts += [f"## {benchmark.title}", benchmark.text]
        parts.append(_section(records[benchmark.name]) if benchmark.name in records else "Not measured yet.")
    return "\n\n".join(parts) + "\n"


def _about_machine(machine: Mapping[str, Any], records: Mapping[str, Mapping[str, Any]]) -> str:
    dates = sorted({record["date"] for record in records.values()})
    rows = {
        "date": dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
        "processor": f"{machine['cpu']}, {machine['cores']} cores",
        "instruction sets": ", ".join(machine["instruction_sets"]) or "unknown",
        "threads": machine["threads"],
        "versions": ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
    }
    peaks = records.get("gemm", {}).get("results", {}).get("about", {}).get("peak", {})
    if peaks:
        rows["peak of matrix products"] = ", ".join(
            f"{rate:.1f} GFLOP/s in {precision}" for precision, rate in peaks.items()
        )
    text = _table(["", ""], [[name, str(value)] for name, value in rows.items()])
    if not machine["bfloat16"]:
        text += (
            "\n\nRows in bfloat16 were not measured: this processor has no instructions for products in "
            "bfloat16 (AVX-512 BF16, AMX), and "
            "emulates them more slowly than it computes in single precision. `precision: auto` trains in "
            "single precision here."
        )
    return text


def _section(record: Mapping[str, Any]) -> str:
    results = {name: values for name, values in record["results"].items() if name != "about"}
    parts = [f"`python benchmarks/{record['command']}`, {record['date']}"]
    if gflops := record["results"].get("about", {}).get("gflops"):
        precisions = list(next(iter(gflops.values())))
        rows = [
            [shape, *(f"{rates[precision]:.1f}" for precision in precisions)]
            for shape, rates in gflops.items()
        ]
        parts.append(_table(["shape", *(f"{precision}, GFLOP/s" for precision in precisions)], rows))
    if results:
        columns = list(
            dict.fromkeys(column for values in results.values() for column in values.get("more", {}))
        )
        rows = []
        for name, values in results.items():
            spread = f"{values['low']:.2f} to {values['high']:.2f}"
            more = [str(values.get("more", {}).get(column, "")) for column in columns]
            rows.append([name, f"{values['ratio']:.2f}x", spread, str(len(values["rounds"])), *more])
        parts.append(_table(["", "ratio", "lowest to highest", "rounds", *columns], rows))
    return "\n\n".join(parts)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"run only these: {', '.join(names)}",
    )
    parser.add_argument("--no-run", action="store_true", help="write the page from earlier results")
    parser.add_argument("--rounds", help="rounds of every benchmark; default: that of each benchmark")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that everything works")
    parser.add_argument(
        "--results", type=Path, default=Path("results/benchmarks"), help="folder of the results"
    )
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args()
    more = [*["--tiny"] * options.tiny, *(["--rounds", options.rounds] if options.rounds else [])]
    for benchmark in BENCHMARKS:
        if benchmark.name in options.only and not options.no_run:
            write_json(options.results / f"{benchmark.name}.json", run(benchmark, more))
    files = {name: options.results / f"{name}.json" for name in names}
    try:
        write_text(
            options.page, page({name: read_json(file) for name, file in files.items() if file.exists()})
        )
    except ValueError as error:
        sys.exit(str(error))
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()
