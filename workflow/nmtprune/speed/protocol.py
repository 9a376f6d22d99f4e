"""The protocol of speed measurements (Behnke and Heafield 2021, section 4.2: one core, batches of 32).

Every model is loaded by every engine in a process of its own (`speed.worker`) with one thread. All processes
are pinned to one core, and one of them works at a time. After a warm-up the models take turns: in each round
every model translates the set once, so that a slow phase of the machine slows all of them. The first model,
the anchor, takes part in every round. A model's `speed_up` is the median over rounds of the anchor's time
divided by the model's time in the same round and engine. The function `speed_up` compares any two rows over
the rounds that they share.

The clock runs while an engine turns source pieces into target pieces, search and shortlist included. Subword
encoding, detokenisation and conversion are not timed; loading the model is timed separately.

If memory does not hold all models at once, they are measured in groups, with the anchor in each group.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import psutil

from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import evenly_spaced, size_of
from nmtprune.foundation.known import known

BATCH_SIZES = (32, 1)
IDLE = 0.2  # cores that other processes may keep busy while speed is measured
PATIENCE = 1800.0  # seconds that a measurement waits for an idle machine
SINGLE_SENTENCES = 50  # sentences of a run with batch size 1; the whole set would take hours
COLUMNS = (
    "chain",
    "engine",
    "engine_version",
    "precision",
    "shortlist",
    "batch_size",
    "beam",
    "threads",
    "device",
    "runs",
    "sentences",
    "source_words",
    "target_pieces",
    "seconds",
    "seconds_low",
    "seconds_high",
    "seconds_by_round",
    "cpu_seconds",
    "words_per_second",
    "speed_up",
    "speed_up_low",
    "speed_up_high",
    "load_seconds",
    "peak_memory",
    "peak_resident",
    "size_on_disk",
    "size_int8",
    "cpu",
    "core",
    "others_cpu",
)
LEFT_OUT_COLUMNS = ("chain", "engine", "reason")

# file of batches -> batch size -> sentences, source words
Sizes = Mapping[Path, Mapping[int, tuple[int, int]]]

_PACKAGE = Path(__file__).resolve().parents[2]
_PROCESS_MEMORY = 500 * 2**20  # bytes of an interpreter with its libraries
_COPIES = 6  # memory of a loaded model and its work space, as a multiple of the size of its files


@dataclass(frozen=True)
class Case:
    """A model as one engine runs it.

    `folder`: the engine's files; `batches`: a file of `write_batches`; `search`: the fields of `Search`;
    `python`: the interpreter that has the engine; `device`: cpu or cuda.
    """

    chain: str
    engine: str
    folder: Path
    batches: Path
    search: Mapping[str, Any] = field(hash=False)
    precision: str = "float32"
    shortlist: Path | None = None
    python: str = sys.executable
    device: str = "cpu"

    @property
    def size_on_disk(self) -> int:
        """Bytes of the engine's files."""
        return size_of(self.folder)

    @property
    def memory(self) -> int:
        """An estimate of the bytes of memory that the case needs."""
        return _PROCESS_MEMORY + _COPIES * self.size_on_disk


@dataclass(frozen=True)
class Loaded:
    """The loading of a model.

    `resident_before`: resident bytes of the process with all libraries but without the model; None if the
    system does not say.
    """

    version: str
    load_seconds: float
    resident_before: int | None


@dataclass(frozen=True)
class Run:
    """One translation of the set: wall-clock and CPU seconds, and target pieces.

    `peak_resident`: bytes; None if the system does not say. `others_cpu`: the number of cores that other
    processes kept busy meanwhile.
    """

    seconds: float
    cpu_seconds: float
    target_pieces: int
    peak_resident: int | None
    others_cpu: float


class Working(Protocol):
    """A loaded and warm model."""

    loaded: Loaded

    def run(self, batch_size: int) -> Run:
        """Translate the set once, in batches of `batch_size` sentences."""
        ...

    def __enter__(self) -> Working: ...

    def __exit__(self, *error: object) -> None: ...


class Worker:
    """A case in a process of its own, which ends with this object or with this process.

    Raises RuntimeError if that process dies.
    """

    def __init__(self, case: Case, core: int | None, job: Path) -> None:
        self._case = case
        settings = {
            "engine": case.engine,
            "folder": str(case.folder),
            "batches": str(case.batches),
            "precision": case.precision,
            "shortlist": str(case.shortlist) if case.shortlist else None,
            "device": case.device,
            "search": dict(case.search),
            "core": core,
        }
        job.write_text(json.dumps(settings), encoding="utf-8")
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        self._process = subprocess.Popen(
            [case.python, "-m", "nmtprune.speed.worker", str(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, "PYTHONPATH": str(_PACKAGE)},
        )
        self._requests, self._answers = known(self._process.stdin), known(self._process.stdout)
        self.loaded = Loaded(**self._answer())

    def run(self, batch_size: int) -> Run:
        """Translate the set once, in batches of `batch_size` sentences."""
        busy, own = _busy_seconds(), _own_seconds()
        self._requests.write(f"{batch_size}\n")
        self._requests.flush()
        answer = self._answer()
        used = answer["cpu_seconds"] + _own_seconds() - own
        return Run(**answer, others_cpu=max(0.0, _busy_seconds() - busy - used) / answer["seconds"])

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(
                f"{self._case.engine} failed with {self._case.chain} (exit status {self._process.wait()})"
            )
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._requests.close()
        self._process.wait()
        self._answers.close()


def _busy_seconds() -> float:
    """CPU seconds that all cores have worked since the system started.

    Time that the host of a virtual machine took away (steal) counts as work.
    """
    times = psutil.cpu_times()
    return sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))


def cores_of_others(seconds: float = 5.0) -> float:
    """The number of cores that other processes keep busy, measured while this one sleeps for `seconds`."""
    busy, own, began = _busy_seconds(), _own_seconds(), time.monotonic()
    time.sleep(seconds)
    return max(0.0, _busy_seconds() - busy - (_own_seconds() - own)) / (time.monotonic() - began)


def wait_until_idle(patience: float = PATIENCE, look: Callable[[], float] = cores_of_others) -> None:
    """Return as soon as other processes keep no more than IDLE cores busy.

    Raises UserError if that takes longer than `patience` seconds. `look` returns the number of busy cores.
    """
    began = time.monotonic()
    while (others := look()) > IDLE:
        if time.monotonic() - began > patience:
            raise UserError(f"{refused(others)}; the same command continues once they have ended")
        print(
            f"other processes keep {others:.1f} cores busy; waiting for them before speed is measured",
            flush=True,
        )


def refused(others: float) -> str:
    """Why a measurement does not count while other processes keep `others` cores busy."""
    return (
        "speed is measured on an idle machine (`speed_on_idle` of the preset), and other processes keep "
        f"{others:.1f} cores busy"
    )


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


def idlest_core() -> int | None:
    """The least busy core among those that this process may use; None if processes cannot be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    loads = psutil.cpu_percent(interval=1, percpu=True)
    return min(os.sched_getaffinity(0), key=lambda core: loads[core] if core < len(loads) else 0)


def cpu_model() -> str:
    """The processor's name, as the system gives it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )


def write_batches(sources: Sequence[Sequence[str]], path: Path) -> dict[int, list[int]]:
    """Write batches for each of BATCH_SIZES, longest sentences first; return each size's sentence indices.

    For batch size 1 these are SINGLE_SENTENCES sentences, evenly spaced in the sorted set. Empty sources are
    left out.
    """
    order = sorted(
        (index for index, source in enumerate(sources) if source), key=lambda index: -len(sources[index])
    )
    chosen = {
        size: order if size > 1 else [order[place] for place in evenly_spaced(len(order), SINGLE_SENTENCES)]
        for size in BATCH_SIZES
    }
    batches = {
        size: [
            [sources[index] for index in indices[start : start + size]]
            for start in range(0, len(indices), size)
        ]
        for size, indices in chosen.items()
    }
    path.write_text(json.dumps(batches, ensure_ascii=False), encoding="utf-8")
    return chosen


@dataclass
class Measured:
    """The measurements of a case: every loading, and its runs by batch size and round.

    Rounds are numbered through all groups, so that equal numbers mean the same round.
    """

    loaded: list[Loaded] = field(default_factory=list)
    runs: dict[int, dict[int, Run]] = field(default_factory=dict)


def measure(
    cases: Sequence[Case],
    start: Callable[[Case], Working],
    rounds: int,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    memory: int | None = None,
) -> dict[Case, Measured]:
    """Measure all cases in turns. The first case's model is the anchor.

    `memory`: bytes that a group of models may take; by default half of what is free.
    """
    measured = {case: Measured() for case in cases}
    room = psutil.virtual_memory().available // 2 if memory is None else memory
    number = 0
    for group in groups(cases, room):
        with ExitStack() as stack:
            workers = {case: stack.enter_context(start(case)) for case in group}
            for case, worker in workers.items():
                measured[case].loaded.append(worker.loaded)
            for _ in range(rounds):
                number += 1
                for batch_size in batch_sizes:
                    for case, worker in workers.items():
                        measured[case].runs.setdefault(batch_size, {})[number] = worker.run(batch_size)
                print(f"round {number}: {len(group)} models measured", flush=True)
    return measured


def groups(cases: Sequence[Case], memory: int) -> Iterator[list[Case]]:
    """Groups of cases that fit into memory together, each with the anchors and at least one other case.

    The anchors are the first case's model in single precision, in each engine that other models use.
    """
    shared = {(case.engine, case.shortlist is not None) for case in cases if case.chain != cases[0].chain}
    anchors = [
        case
        for case in cases
        if _is_anchor(case, cases[0]) and (case.engine, case.shortlist is not None) in shared
    ]
    free = memory - sum(case.memory for case in anchors)
    group: list[Case] = []
    for case in cases:
        if case in anchors:
            continue
        if group and sum(each.memory for each in [*group, case]) > free:
            yield [*anchors, *group]
            group = []
        group.append(case)
    if group or anchors:
        yield [*anchors, *group]


def _is_anchor(case: Case, first: Case) -> bool:
    return case.chain == first.chain and case.precision == "float32"


def anchor_of(case: Case, cases: Sequence[Case]) -> Case | None:
    """The anchor in the case's engine, with a shortlist if the case has one; None if there is none."""
    same = (each for each in cases if _is_anchor(each, cases[0]))
    return next(
        (
            each
            for each in same
            if (each.engine, each.shortlist is None) == (case.engine, case.shortlist is None)
        ),
        None,
    )


def speed_ups(measured: Measured, anchor: Measured, batch_size: int) -> list[float]:
    """The anchor's time divided by the model's, for each round in which both were measured."""
    anchors = anchor.runs[batch_size]
    return [
        anchors[number].seconds / run.seconds
        for number, run in measured.runs[batch_size].items()
        if number in anchors
    ]


def speed_up(ours: Mapping[str, str], theirs: Mapping[str, str]) -> float:
    """How many times as fast one row of a table of speeds is as another with the same engine and batch size.

    It is the ratio of their median times over the rounds that both took part in; if all models were measured
    in the same rounds, it equals the ratio of their words per second. Two models that share no round are
    compared through the anchor, which was measured with both.
    """
    ours_by_round, theirs_by_round = _by_round(ours), _by_round(theirs)
    if not ours_by_round or not theirs_by_round:  # an older table without times by round
        return float(theirs["seconds"]) / float(ours["seconds"])
    shared = [number for number in ours_by_round if number in theirs_by_round]
    if not shared:
        return float(ours["speed_up"]) / float(theirs["speed_up"])
    return statistics.median(theirs_by_round[number] for number in shared) / statistics.median(
        ours_by_round[number] for number in shared
    )


def _by_round(row: Mapping[str, str]) -> dict[str, float]:
    pairs = (each.split(":") for each in (row.get("seconds_by_round") or "").split())
    return {number: float(seconds) for number, seconds in pairs}


def rows(
    measurements: Mapping[Case, Measured], sizes: Sizes, core: int | None
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """The rows of each case, one per batch size, with the columns COLUMNS; `size_int8` is left empty."""
    cases, cpu = list(measurements), cpu_model()
    for case, measured in measurements.items():
        anchor = anchor_of(case, cases)
        peaks = [
            run.peak_resident
            for by_round in measured.runs.values()
            for run in by_round.values()
            if run.peak_resident
        ]
        before = [loaded.resident_before for loaded in measured.loaded if loaded.resident_before]
        for batch_size, by_round in measured.runs.items():
            runs, (sentences, words) = list(by_round.values()), sizes[case.batches][batch_size]
            seconds = [run.seconds for run in runs]
            ratios = speed_ups(measured, measurements[anchor], batch_size) if anchor else []
            row = {
                "chain": case.chain,
                "engine": case.engine,
                "engine_version": measured.loaded[0].version,
                "precision": case.precision,
                "shortlist": int(case.shortlist is not None),
                "batch_size": batch_size,
                "beam": case.search["beam"],
                "threads": 1,
                "device": case.device,
                "runs": len(runs),
                "sentences": sentences,
                "source_words": words,
                "target_pieces": runs[0].target_pieces,
                "seconds": statistics.median(seconds),
                "seconds_low": min(seconds),
                "seconds_high": max(seconds),
                "seconds_by_round": " ".join(
                    f"{number}:{run.seconds:.6g}" for number, run in by_round.items()
                ),
                "cpu_seconds": statistics.median(run.cpu_seconds for run in runs),
                "words_per_second": words / statistics.median(seconds),
                "speed_up": statistics.median(ratios) if ratios else None,
                "speed_up_low": min(ratios, default=None),
                "speed_up_high": max(ratios, default=None),
                "load_seconds": statistics.median(loaded.load_seconds for loaded in measured.loaded),
                "peak_memory": max(peaks) - min(before) if peaks and before else None,
                "peak_resident": max(peaks, default=None),
                "size_on_disk": case.size_on_disk,
                "cpu": cpu,
                "core": core,
                "others_cpu": max(run.others_cpu for run in runs),
            }
            yield case, dict.fromkeys(COLUMNS) | {key: _rounded(value) for key, value in row.items()}


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value
