"""What is current: made from what is there now. Content decides this, never dates.

A job that has made its file writes a note of it (under results/origins): the content of every file that was
read. A file is current if each file in its note still has the noted content and is current itself. A noted
file that is gone counts as unchanged if making it again would give the same content. The note is deleted
together with its file. So if a file is deleted to be made again and its job then fails, nothing that was made
from the file counts as current. Files that an earlier version made have no notes; Snakemake judges them by
their dates until a run wants to make them again.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.foundation.files import digest, read_json, sha256_of, write_json

Note = dict[str, Any]  # {"content": checksum of a file when it was read, "stat": its status at that time}
Notes = dict[Path, dict[Path, Note]]  # by made file, then by file that was read for it
UNKNOWN = {paths.RESULTS / "unknown": {"content": "", "stat": []}}  # a note that is never current


def content_of(file: Path, noted: Note | None = None) -> str:
    """The content of a file as a checksum; for a manifest, a digest of what it describes.

    A file is read only if its size, modification time, inode or change time differ from those in `noted`.
    Raises FileNotFoundError.
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
    # A model is its identity, however long its training took. The digest of text and data does not cover the
    # test sets, so the whole manifest counts.
    return made["digest"] if "chain" in made else digest(made)


@contextmanager
def making(made: Path, read: Iterable[Path]) -> Iterator[None]:
    """Note, once the block has ended without an error, that `made` was made from `read`.

    The noted contents are those at the beginning of the block. Files outside the folder of results, which a
    verb may be told to write, have no notes.
    """
    if paths.RESULTS not in made.parents:
        yield
        return
    note = paths.origin(made)
    if not made.exists():
        note.unlink(missing_ok=True)
    # the status comes first, so that a file which changes while it is read differs from its note
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
    """All notes of this folder of results, by the file that was made."""
    known = {}
    for note in paths.ORIGINS.rglob("*.json"):
        with suppress(FileNotFoundError):  # the file is being made again at this moment
            known[paths.noted(note)] = _read(note)
    return known


def noted(made: Path, file: Path) -> Note | None:
    """The note of one file that `made` was made from; None if there is none."""
    note = paths.origin(made)
    return _read(note).get(file) if note.exists() else None


def _read(note: Path) -> dict[Path, Note]:
    try:
        return {Path(file): origin for file, origin in read_json(note).items()}
    except ValueError:  # torn by a power failure
        return UNKNOWN


def to_be_made_again(made: Path) -> None:
    """Mark a file from before there were notes as not current."""
    write_json(paths.origin(made), {str(file): origin for file, origin in UNKNOWN.items()})


def outdated(known: Notes | None = None) -> set[Path]:
    """The files with notes, whether they exist or not, that are not current."""
    known = notes() if known is None else known
    judged: dict[Path, bool] = {}
    return {made for made in known if not _is_current(made, known, judged)}


def _is_current(made: Path, known: Notes, judged: dict[Path, bool]) -> bool:
    if made not in judged:
        judged[made] = False  # until it is known, so that a circle ends
        judged[made] = all(_is_as_noted(file, origin, known, judged) for file, origin in known[made].items())
    return judged[made]


def _is_as_noted(file: Path, origin: Note, known: Notes, judged: dict[Path, bool]) -> bool:
    """Whether a file is current with the noted content, or is gone and would be made with it again.

    A user's own file that is gone does not count against what was made from it.
    """
    try:
        same = content_of(file, origin) == origin["content"]
    except FileNotFoundError:
        same = file in known or paths.RESULTS not in file.parents
    except (OSError, ValueError, KeyError):  # a damaged manifest, or a folder in place of a file
        same = False
    return same and (file not in known or _is_current(file, known, judged))


def renew(known: Notes, outdated: set[Path]) -> None:
    """Update the status in notes of files whose date or place changed but not their content.

    Without this, each start would read these files again.
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
        with suppress(OSError):  # the folder of results may be read-only
            if moved and _read(note) == origins:  # no job has written the note meanwhile
                write_json(
                    note,
                    {
                        str(file): {**origin, "stat": moved.get(file, origin["stat"])}
                        for file, origin in origins.items()
                    },
                )
