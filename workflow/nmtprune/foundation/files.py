"""Files that are whole or absent: atomic writes, digests, small readers and writers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` once the block has ended without an error.

    If the writer fails or is killed (a full disk included), the old file stays as it was. An OSError names
    the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file. Raises ValueError if it is damaged."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def read_lines(path: str | Path) -> list[str]:
    """Lines of a UTF-8 file, split at newlines alone (`str.splitlines` splits at U+2028 and others too)."""
    with open(path, encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def write_lines(path: str | Path, lines: list[str]) -> None:
    """Write lines, each ended by a newline, atomically."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_table(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file, each a mapping from column to cell."""
    with open(path, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def as_csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Rows as CSV text with the given columns, by default those of the first row."""
    rows, out = list(rows), io.StringIO()
    writer = csv.DictWriter(
        out, fieldnames=list(rows[0] if columns is None else columns), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write_table(
    path: str | Path, rows: Iterable[Mapping[str, Any]], columns: Iterable[str] | None = None
) -> None:
    """Write rows as CSV, atomically; `columns` as in `as_csv`."""
    write_text(path, as_csv(rows, columns))


def evenly_spaced(total: int, most: int) -> Iterator[int]:
    """At most `most` indices below `total`, in order and evenly spaced; all of them if `total` is smaller."""
    count = min(most, total)
    return (place * total // count for place in range(count))


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that identify a JSON value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()[:16]


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
