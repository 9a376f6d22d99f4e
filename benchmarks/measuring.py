"""Common parts of the benchmarks: command line, ratios with their spread, environment, instruction sets.

A benchmark prints a line for each ratio, and `--json FILE` writes them: `{name: {"ratio": median, "low",
"high", "rounds": [...]}}`, with further columns of the table in docs/performance.md under `more`. The
name `about` is reserved for facts about all ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch

WORKFLOW = Path(__file__).resolve().parents[1] / "workflow"
sys.path.insert(0, str(WORKFLOW))

from nmtprune.foundation.files import write_json  # noqa: E402

# Instruction sets that determine the speed of matrix products, with PyTorch's names.
INSTRUCTION_SETS = {
    "AVX2": "avx2",
    "AVX-512": "avx512_f",
    "AVX-512 VNNI": "avx512_vnni",
    "AVX VNNI": "avx_vnni",
    "AVX-512 BF16": "avx512_bf16",
    "AMX BF16": "amx_bf16",
    "AMX INT8": "amx_int8",
    "ARM BF16": "bf16",
}


def command_line(description: str, rounds: int) -> argparse.ArgumentParser:
    """A parser of the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="interleaved rounds; a ratio is their median"
    )
    parser.add_argument("--json", type=Path, help="write the ratios to this file")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that the benchmark works")
    return parser


def parse(parser: argparse.ArgumentParser, tiny: Mapping[str, Any]) -> argparse.Namespace:
    """The options; `tiny` are the defaults with `--tiny`."""
    if "--tiny" in sys.argv:
        parser.set_defaults(**tiny)
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: at least 1")
    return options


def ratio(rounds: Sequence[float], **more: Any) -> dict[str, Any]:
    """A ratio over all rounds with its median, lowest and highest value; `more` are further columns."""
    values = {
        "ratio": statistics.median(rounds),
        "low": min(rounds),
        "high": max(rounds),
        "rounds": list(rounds),
    }
    return values | ({"more": more} if more else {})


def publish(
    ratios: Mapping[str, Mapping[str, Any]], file: Path | None, about: Mapping[str, Any] | None = None
) -> None:
    """Print a line for each ratio, and write the ratios to a JSON file if one is given."""
    for name, values in ratios.items():
        more = "".join(f"; {key} {value}" for key, value in values.get("more", {}).items())
        print(
            f"{name}: {values['ratio']:.2f}x ({values['low']:.2f} to {values['high']:.2f}, rounds: "
            f"{len(values['rounds'])}){more}",
            flush=True,
        )
    if file is not None:
        write_json(file, dict(ratios) | ({"about": dict(about)} if about else {}))


def measure(prepare: Callable[[], Any], operate: Callable[[Any], Any]) -> dict[str, float]:
    """Wall-clock and CPU seconds of an operation, its peak memory in bytes, and the memory that it added."""
    given = prepare()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak of the resident set
    before, clock, processor = psutil.Process().memory_info().rss, time.perf_counter(), time.process_time()
    result = operate(given)
    seconds, cpu_seconds = time.perf_counter() - clock, time.process_time() - processor
    del result
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = 1024 * int(status["VmHWM"].split()[0])
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak": peak, "added": peak - before}


def in_processes(
    command: Sequence[str], names: Iterable[str], rounds: int, size_of_model: float
) -> dict[str, dict[str, Any]]:
    """Ratios of the peak memory of operations to the size of a model in bytes, with their seconds.

    Each operation is measured in a process of its own: `command`, then `--measure NAME FOLDER`, prints what
    `measure` returns. The operations of a round share the folder.
    """
    names = list(names)
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                words = [sys.executable, *command, "--measure", name, folder]
                done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                runs.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
    ratios = {}
    for name, measured in runs.items():
        more = {
            what.replace("_", " "): f"{statistics.median(run[what] for run in measured):.2f}"
            for what in ("seconds", "cpu_seconds")
        }
        more["added / model"] = f"{statistics.median(run['added'] for run in measured) / size_of_model:.2f}"
        ratios[f"{name}, memory / model"] = ratio([run["peak"] / size_of_model for run in measured], **more)
    return ratios


def environment() -> dict[str, str]:
    """The environment of a process that imports nmtprune and computes on one thread."""
    path = os.pathsep.join(filter(None, [str(WORKFLOW), os.environ.get("PYTHONPATH")]))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **threads}


def instruction_sets() -> list[str]:
    """The names in INSTRUCTION_SETS that this processor has."""
    able = torch.cpu.get_capabilities()
    return [name for name, key in INSTRUCTION_SETS.items() if able.get(key)]
