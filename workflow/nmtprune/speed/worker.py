"""One model in one engine in a process of its own, pinned to one core; `protocol.Worker` starts it.

    python -m nmtprune.speed.worker job.json

The job names engine, folder, precision, shortlist, core, search and the file of prepared batches. The process
answers in JSON, one line per answer: the first once the model is loaded and warm, then one for each line of
input, a batch size, after translating the whole set in batches of this size. The process ends with its input.

If there is a warm process (nmtprune.runtime.fork_server), the process is a fork of it. Only the standard
library is imported at the top, because pymarian may live in an environment without torch and numpy.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nmtprune.runtime import fork_server

Batches = dict[str, list[list[list[str]]]]  # batch size -> batches of sentences of pieces
Translate = Callable[[list[list[str]]], list[list[str]]]

_WARM_UP = 8  # every eighth batch, the longest among them, is translated before the measurement
_PROCESS = Path("/proc/self")


def _ours(job: dict[str, Any]) -> tuple[str, Callable[[], Translate]]:
    """The version of one of our engines, and a function that loads the model; all imports are done before."""
    from nmtprune.experiment.search import Search
    from nmtprune.translation.shortlist import Shortlist

    search, folder = Search(**job["search"]), Path(job["folder"])
    shortlist = {"shortlist": Shortlist.load(job["shortlist"])} if job["shortlist"] else {}
    library, load = (_fairseq if job["engine"] == "fairseq" else _fast)(job["engine"])

    def open_engine() -> Translate:
        engine = load(folder, device=job["device"], **shortlist)
        return lambda batch: engine.translate(batch, search, search.max_length(max(map(len, batch))))

    return f"{library} {importlib.metadata.version(library)}", open_engine


def _fast(engine: str) -> tuple[str, Callable[..., Any]]:
    from nmtprune.translation.opening import module_of

    module = module_of(engine)
    return module.PACKAGES[-1], module.ENGINE.load


def _fairseq(engine: str) -> tuple[str, Callable[..., Any]]:
    import torch

    from nmtprune.fairseq_bridge.generation import FairseqEngine
    from nmtprune.store import checkpoints
    from nmtprune.store.model import Model

    torch.set_num_threads(1)

    def load(folder: Path, device: str) -> FairseqEngine:
        return FairseqEngine(Model(**checkpoints.read(folder / "model.pt")), device)

    return engine, load


def _peer(job: dict[str, Any]) -> tuple[str, Callable[[], Translate]]:
    from nmtprune.speed.pymarian import Peer, version

    return version(), lambda: Peer(Path(job["folder"]), job["search"]).translate


def _resident(key: str) -> int | None:
    """Resident memory in bytes, now (VmRSS) or at its peak (VmHWM); None if the system does not say."""
    status = _PROCESS / "status"
    if not status.exists():
        return None
    return next(
        int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(f"{key}:")
    )


def _forget_peak() -> None:
    """Reset the peak of resident memory, if the system allows it."""
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return


def _load(job: dict[str, Any], batches: Batches) -> tuple[Translate, dict[str, Any]]:
    version, load = (_peer if job["engine"] == "pymarian" else _ours)(job)
    _forget_peak()
    before = _resident("VmRSS")
    began = time.perf_counter()
    translate = load()
    seconds = time.perf_counter() - began
    for same_size in batches.values():
        for batch in same_size[::_WARM_UP]:
            translate(batch)
    return translate, {"version": version, "load_seconds": seconds, "resident_before": before}


def _run(translate: Translate, batches: list[list[list[str]]]) -> dict[str, Any]:
    began, cpu_began = time.perf_counter(), time.process_time()
    pieces = sum(len(hypothesis) for batch in batches for hypothesis in translate(batch))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "target_pieces": pieces,
        "peak_resident": _resident("VmHWM"),
    }


def _job() -> dict[str, Any]:
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def main() -> int:
    """Load the model of the job, then answer each batch size on standard input with a measurement."""
    job = _job()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # keeps what libraries print apart from answers
    if job["core"] is not None:
        os.sched_setaffinity(0, {job["core"]})
    batches = json.loads(Path(job["batches"]).read_text(encoding="utf-8"))
    translate, loaded = _load(job, batches)
    print(json.dumps(loaded), file=answers)
    for line in sys.stdin:
        print(json.dumps(_run(translate, batches[line.strip()])), file=answers)
    return 0


if __name__ == "__main__":
    status = None if _job()["engine"] == "pymarian" else fork_server.run_there(sys.argv, __spec__.name)
    fork_server.leave(main() if status is None else status)
