"""One module a kind of step. `run` makes a chain's last step: with a lock, resuming, restoring, and whole files only."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from nmtprune import manifest, paths
from nmtprune.chain import Chain
from nmtprune.config import Config
from nmtprune.files import atomic, write_json, write_text

# family -> the module with `make(config, chain, state) -> facts`; it leaves its outputs in `state/outputs/`
_MODULES = {
    "train": "training",
    "continue": "training",
    "retrain": "training",
    "rejuvenate": "training",
    "restart": "training",
    "import": "import_checkpoint",
    "prune": "prune",
    "at": "at",
}


@contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Only one process works on a directory: a training that outlived its killed workflow and its successor never write together."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process works on {directory}; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(config: Config, chain: Chain) -> None:
    """Make the last step of a chain, go on where it was interrupted, or restore what an earlier run of the same digest made.

    Raises UserError where its parent or its data is missing or damaged.
    """
    directory = paths.model(chain)
    state = paths.state(directory)
    outputs, identity = state / "outputs", manifest.digest_of(config, chain)
    make: Callable[[Config, Chain, Path], dict[str, Any]] = import_module(f"{__name__}.{_MODULES[chain.last.family.name]}").make
    if os.environ.get("RANK", "0") != "0":  # a worker of a distributed training; the first one keeps the files
        if not _finished(state, identity):
            make(config, chain, state)
        return
    with lock(state):
        if _digest_in(state) != identity:
            _clear(state)
            write_text(state / "digest", identity)
        if not _finished(state, identity):
            outputs.mkdir(exist_ok=True)
            began = time.monotonic()
            facts = {"wall_seconds": None, **make(config, chain, state)}
            facts["wall_seconds"] = facts["wall_seconds"] or round(time.monotonic() - began, 3)
            write_json(outputs / paths.MANIFEST, manifest.make(config, chain, identity, facts))
            (state / "resume.pt").unlink(missing_ok=True)
        publish(outputs, directory)


def _finished(state: Path, identity: str) -> bool:
    return _digest_in(state) == identity and (state / "outputs" / paths.MANIFEST).exists()


def publish(outputs: Path, directory: Path) -> None:
    """Link every finished file into the step's directory, the manifest last; its presence says that all others are whole."""
    files = sorted((f for f in outputs.rglob("*") if f.is_file()), key=lambda f: f.name == paths.MANIFEST)
    for file in files:
        with atomic(directory / file.relative_to(outputs)) as temporary:
            try:
                os.link(file, temporary)
            except OSError:
                shutil.copyfile(file, temporary)
    for file in files:
        os.utime(directory / file.relative_to(outputs))


def _digest_in(state: Path) -> str | None:
    file = state / "digest"
    return file.read_text() if file.exists() else None


def _clear(state: Path) -> None:
    for entry in state.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != ".lock":
            entry.unlink()
