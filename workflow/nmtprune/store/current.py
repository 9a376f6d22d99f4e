"""What is current: made from what is there now. Content decides, dates never do.

A job that has made its file notes the content of every file that it has read (results/origins). The file is
current as long as each of those has that content and is current itself; one that is gone counts as current if
it would be made from the same content again. A note goes with its file: what was deleted to be made again,
and then failed or was killed, leaves nothing current that was made from it. Files without a note, which an
earlier version has made, are left to Snakemake and its dates until a run wants to make them again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.foundation.files import digest, read_json, sha256_of, write_json

Note = dict[str, Any]  # {"content": of a file when it was read, "stat": of it then}
Notes = dict[Path, dict[Path, Note]]  # by made file, by file that was read for it
UNKNOWN = {
    paths.RESULTS / "unknown": {"content": "", "stat": []}
}  # what a file was made from that is not current in any case


def content_of(file: Path, noted: Note | None = None) -> str:
    """The content of a file: a checksum, of a manifest a digest of what it speaks of.

    A file is read only where size, modification time, inode or change time differ from those `noted`. Raises
    FileNotFoundError.
    """
    status = _status(file)
    return noted["content"] if noted and noted["stat"] == status else _content(file, tuple(status))


def _status(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


@functools.lru_cache(maxsize=10_000)
def _content(file: Path, status: tuple[int, ...]) -> str:
    if file.name != paths.MANIFEST:
        return sha256_of(file)
    made = read_json(file)
    # of a model the identity, whatever time its training took; of text and data the test sets too, of which
    # their digest does not speak
    return made["digest"] if "chain" in made else digest(made)


@contextmanager
def making(made: Path, read: Iterable[Path]) -> Iterator[None]:
    """Note, once the block has ended without an error, that `made` was made from `read` as these files are at
    its beginning.

    Files outside the folder of results, which a verb may be told to write, have no notes.
    """
    if paths.RESULTS not in made.parents:
        yield
        return
    note = paths.origin(made)
    if not made.exists():
        note.unlink(missing_ok=True)
    # the status first: what changes while it is read has another one
    origins = {
        str(file): {"stat": (status := _status(file)), "content": _content(file, tuple(status))}
        for file in read
        if file.exists()
    }
    try:
        yield
    finally:
        if not made.exists():
            note.unlink(missing_ok=True)
    if made.exists():
        write_json(note, origins)


def notes() -> Notes:
    """All notes of this folder of results."""
    known = {}
    for note in paths.ORIGINS.rglob("*.json"):
        with suppress(FileNotFoundError):  # its file is being made again at this moment
            known[paths.noted(note)] = _read(note)
    return known


def noted(made: Path, file: Path) -> Note | None:
    """What is noted of a file that one was made from."""
    note = paths.origin(made)
    return _read(note).get(file) if note.exists() else None


def _read(note: Path) -> dict[Path, Note]:
    try:
        return {Path(file): origin for file, origin in read_json(note).items()}
    except ValueError:  # torn by a power failure
        return UNKNOWN


def to_be_made_again(made: Path) -> None:
    """Note of a file that is there, and was made before there were notes, that it is not current."""
    write_json(paths.origin(made), {str(file): origin for file, origin in UNKNOWN.items()})


def outdated(known: Notes | None = None) -> set[Path]:
    """The noted files, there or not, that are not current."""
    known = notes() if known is None else known
    judged: dict[Path, bool] = {}
    return {made for made in known if not _is_current(made, known, judged)}


def _is_current(made: Path, known: Notes, judged: dict[Path, bool]) -> bool:
    if made not in judged:
        judged[made] = False  # while it is looked at
        judged[made] = all(_is_as_noted(file, origin, known, judged) for file, origin in known[made].items())
    return judged[made]


def _is_as_noted(file: Path, origin: Note, known: Notes, judged: dict[Path, bool]) -> bool:
    """Whether a file has the content noted, or is gone and would have it. A file of the user's own that is
    gone tells nothing.
    """
    try:
        same = content_of(file, origin) == origin["content"]
    except FileNotFoundError:
        same = file in known or paths.RESULTS not in file.parents
    except (OSError, ValueError, KeyError):  # a damaged manifest, a folder in the place of a file
        same = False
    return same and (file not in known or _is_current(file, known, judged))


def renew(known: Notes, outdated: set[Path]) -> None:
    """Note anew the files of which only the date, or the place on the disk, has changed: they need not be
    read at every start.
    """
    for made in known.keys() - outdated:
        origins, note = known[made], paths.origin(made)
        moved = {
            file: status
            for file, origin in origins.items()
            if file.exists() and (status := _status(file)) != origin["stat"]
        }
        moved = {
            file: status
            for file, status in moved.items()
            if _content(file, tuple(status)) == origins[file]["content"]
        }
        with suppress(OSError):  # results that one may only read are as current as others
            if moved and _read(note) == origins:  # no job has written it meanwhile
                write_json(
                    note,
                    {
                        str(file): {**origin, "stat": moved.get(file, origin["stat"])}
                        for file, origin in origins.items()
                    },
                )
