"""The state of a step: locked while one process works on it, kept by digest, and published as whole files."""

from __future__ import annotations

import fcntl
import functools
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nmtprune.experiment import paths
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, read_json, write_text


@contextmanager
def lock(state: Path) -> Iterator[None]:
    """Let only one process work on a step; others wait.

    So a training that outlives its killed workflow never writes together with its successor.
    """
    state.mkdir(parents=True, exist_ok=True)
    with open(state / paths.LOCK, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process works on {state.parent}; waiting for it", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_locked(directory: Path) -> bool:
    """Whether a process of this machine holds the lock of a directory, and so is at work on it."""
    try:
        with open(directory / paths.LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@functools.cache
def this_machine() -> str:
    """The identity of this machine since its last start.

    Processes with the same identity see each other's locks, and a lock ends with its process.
    """
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else platform.node()


_HELD: list[IO[str]] = []  # files whose locks this process holds for as long as it lives


def only_run(results: Path) -> None:
    """Keep other runs of Snakemake out of this folder of results for as long as this process lives.

    A second run could delete files, to make them again, that the first one is reading. Raises UserError if
    another run is at work.
    """
    results.mkdir(exist_ok=True)
    file = open(results / paths.RUN_LOCK, "a+")  # noqa: SIM115 (open for as long as the lock is held)
    file.seek(0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another run (process {file.read()}) works on {results.resolve()}; the same command "
            "continues once that run has ended"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    _HELD.append(file)


def outputs_of(state: Path) -> Path:
    """The folder in which a step leaves its files; all are linked into the model's directory once whole."""
    return state / "outputs"


def finished(state: Path, identity: str) -> bool:
    """Whether the step with this digest is done and all its files are there at their full sizes."""
    outputs = outputs_of(state)
    manifest = outputs / paths.MANIFEST
    if _digest_in(state) != identity or not manifest.exists():
        return False
    sizes = read_json(manifest)["files"]
    return all(
        (outputs / name).exists() and (outputs / name).stat().st_size == size for name, size in sizes.items()
    )


def begin(state: Path, identity: str) -> None:
    """Prepare the folder `state` for the step with this digest.

    Files that the same step left are kept or restored. A finished model of another digest is put aside under
    its digest, so that a mistake in a recipe, once taken back, costs nothing. An unfinished one is deleted.
    """
    before = _digest_in(state)
    if before != identity:
        if before and finished(state, before):
            shutil.rmtree(state / paths.KEPT / before, ignore_errors=True)
            (state / paths.KEPT).mkdir(exist_ok=True)
            outputs_of(state).rename(state / paths.KEPT / before)
        clear(state)
        if (state / paths.KEPT / identity).exists():
            (state / paths.KEPT / identity).rename(outputs_of(state))
        write_text(state / paths.DIGEST, identity)
    for torn in state.rglob(".*.tmp"):
        torn.unlink()
    outputs_of(state).mkdir(exist_ok=True)


def sizes(outputs: Path) -> dict[str, int]:
    """The sizes in bytes of all outputs, by name within `outputs`."""
    files = (file for file in sorted(outputs.rglob("*")) if file.is_file() and file.name != paths.MANIFEST)
    return {str(file.relative_to(outputs)): file.stat().st_size for file in files}


def publish(state: Path, directory: Path) -> None:
    """Link every finished file into the model's directory, the manifest last: a manifest means a whole model.

    If the directory already has a manifest of the same digest, as after its files were freed, the files get
    its time stamp, so that nothing that was made from the model is made again.
    """
    outputs, manifest = outputs_of(state), directory / paths.MANIFEST
    whole = read_json(outputs / paths.MANIFEST)
    times: dict[str, Any] = {}
    if manifest.exists() and read_json(manifest).get("digest") == whole["digest"]:
        status = manifest.stat()
        times = {"ns": (status.st_atime_ns, status.st_mtime_ns)}
    for name in [*whole["files"], paths.MANIFEST]:
        link(outputs / name, directory / name)
        os.utime(directory / name, **times)


def link(source: Path, target: Path) -> None:
    """Give a file a second name: a hard link, or a copy if the file system has no links."""
    with atomic(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def clear(state: Path) -> None:
    """Remove what an unfinished step left, its digest first.

    Scores and probing classifiers carry digests of their own and stay.
    """
    (state / paths.DIGEST).unlink(missing_ok=True)
    for entry in state.iterdir():
        if entry.name in (paths.LOCK, paths.KEPT, paths.KEPT_SCORES, paths.KEPT_PROBES):
            continue
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _digest_in(state: Path) -> str | None:
    file = state / paths.DIGEST
    return file.read_text() if file.exists() else None
