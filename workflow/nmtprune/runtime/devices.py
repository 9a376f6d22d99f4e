"""Where a job computes: the GPUs that it takes, and the workers of a distributed training."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product, takewhile
from pathlib import Path
from typing import IO

from nmtprune.foundation.errors import UserError

VISIBLE = "CUDA_VISIBLE_DEVICES"
PORT = 29400  # on which the first node of a distributed training is reached
_SECONDS_BETWEEN_TRIES = 0.5


def devices() -> list[str]:
    """The GPUs that jobs may use: those in CUDA_VISIBLE_DEVICES if set, otherwise all of this machine."""
    if os.environ.get(VISIBLE) is not None:
        named = (name.strip() for name in os.environ[VISIBLE].split(","))
        # CUDA ignores whatever follows a negative number; -1 alone names no GPU
        return [name for name in takewhile(lambda name: not name.startswith("-"), named) if name]
    return sorted((file.name.removeprefix("nvidia") for file in Path("/dev").glob("nvidia[0-9]*")), key=int)


def on_gpu(device: str) -> bool:
    """Whether trainings ask for a GPU, by the setting `device` (auto, cpu, cuda).

    Rules and plans use this function, which needs no PyTorch.
    """
    return device == "cuda" or (device == "auto" and bool(devices()))


def torch_device(device: str = "auto") -> str:
    """The device of PyTorch in this process, `cuda` or `cpu`, by the setting `device`.

    `cuda` may also be a GPU of another maker, as in PyTorch. Raises UserError if a GPU is asked for and there
    is none.
    """
    if device == "cpu":
        return "cpu"
    import torch  # noqa: PLC0415 - PyTorch takes seconds

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise UserError("device: `cuda` is asked for and there is no GPU here; valid: auto, cpu")
    return "cuda" if available else "cpu"


def gpu_name() -> str:
    """The name of the GPU that this process uses. Raises UserError if there is none."""
    torch_device("cuda")
    import torch  # noqa: PLC0415 - PyTorch takes seconds

    return torch.cuda.get_device_name()


def check(nodes: int, workers: int) -> None:
    """Raises UserError if a training on GPUs needs more nodes or GPUs than this machine has."""
    if nodes > 1:
        raise UserError(f"nodes: `{nodes}` needs Slurm: --workflow-profile profiles/slurm; valid here: 1")
    here = max(1, len(devices()))  # a machine without GPUs gets its error from `torch_device`
    if workers > here:
        raise UserError(f"workers: `{workers}` is more than the number of GPUs here; valid: 1 to {here}")


@contextmanager
def leased(count: int, jobs_per_gpu: int, folder: Path | None = None) -> Iterator[None]:
    """Take `count` GPUs that fewer than `jobs_per_gpu` jobs of this workflow hold, and hide all others.

    Waits until there are enough. The GPUs are held to the end of the block, also by a program that this
    process turns into. Workers of a distributed training lease nothing (their launcher holds the GPUs), nor
    do machines without GPUs. `folder`: where the lock files are.
    """
    gpus = [] if is_worker() else devices()
    if not gpus or not count:
        yield
        return
    check(1, count)
    folder = folder or Path(tempfile.gettempdir()) / f"nmtprune-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    held = _take(count, gpus, jobs_per_gpu, folder)
    if not held:
        print(f"all of the {len(gpus)} GPUs are taken ({jobs_per_gpu} jobs each); waiting", flush=True)
    while not held:
        time.sleep(_SECONDS_BETWEEN_TRIES)
        held = _take(count, gpus, jobs_per_gpu, folder)
    os.environ[VISIBLE] = ",".join(held)
    try:
        yield
    finally:
        for file in held.values():
            file.close()


def _take(count: int, gpus: Sequence[str], jobs_per_gpu: int, folder: Path) -> dict[str, IO[str]]:
    """Lock `count` GPUs, the least shared ones first: the lock file of each; empty if too few are free."""
    held: dict[str, IO[str]] = {}
    for slot, device in product(range(jobs_per_gpu), gpus):
        if len(held) < count and device not in held and (file := _locked(folder / f"{device}.{slot}")):
            held[device] = file
    if len(held) == count:
        return held
    for file in held.values():
        file.close()
    return {}


def _locked(path: Path) -> IO[str] | None:
    """The file, locked for this process and any program that it turns into; None if it is locked already."""
    file = open(path, "w")  # noqa: SIM115 (open for as long as the lock is held)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    os.set_inheritable(file.fileno(), True)
    return file


def is_worker() -> bool:
    """Whether this process is one of the workers of a distributed training."""
    return "RANK" in os.environ


def is_first() -> bool:
    """Whether this process writes the files: the only process, or the first worker."""
    return os.environ.get("RANK", "0") == "0"


def become_workers(workers: int, nodes: int, arguments: Sequence[str]) -> None:
    """Turn this process into PyTorch's launcher of `workers` on each of `nodes`; does not return.

    `arguments`: the command line of each worker.
    """
    command = _launcher(workers, nodes, arguments)
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.stdout.flush()
    os.execvp(command[0], command)


def _launcher(workers: int, nodes: int, arguments: Sequence[str]) -> list[str]:
    """The command of the launcher: one process on one machine, or one on each node under Slurm."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={workers}"]
    if nodes == 1:
        return [*command, "--standalone", "-m", "nmtprune", *arguments]
    named = subprocess.run(
        ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]],
        capture_output=True,
        text=True,
        check=True,
    )
    first = named.stdout.split()[0]
    meeting = [
        f"--nnodes={nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-id={os.environ['SLURM_JOB_ID']}",
        f"--rdzv-endpoint={first}:{PORT}",
    ]
    start = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
    return [*start, *command, *meeting, "-m", "nmtprune", *arguments]
