"""Download files, which get their names only when they are complete and their checksums are right."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from nmtprune.foundation.errors import UserError

logger = logging.getLogger(__name__)

_ALGORITHMS = {32: "md5", 64: "sha256"}  # by the number of hexadecimal digits
_SECONDS = (20, 60)  # time limits for a connection and for the next bytes
_CHUNK = 1 << 16


def obtain(url: str, checksum: str | None, data_dir: Path | None, downloads: Path) -> Path:
    """The file behind `url`: from `data_dir` if it is there, downloaded before, or downloaded now.

    In `data_dir` it may lie under its base name, or under host and path as in `downloads`. `checksum`:
    SHA-256 or MD5 in hexadecimal. Raises UserError if the file is not available or has another checksum.
    """
    parts = urlsplit(url)
    location = Path(parts.netloc.replace(":", "_"), *PurePosixPath(unquote(parts.path).lstrip("/")).parts)
    if len(location.parts) < 2 or ".." in location.parts or "\0" in str(location):
        raise UserError(
            f"{url} does not name a file below its host: give the address of the file itself, without `..`"
        )
    if data_dir is not None:
        for file in (data_dir / location, data_dir / location.name):
            if os.path.isfile(file):
                verify(file, checksum)
                return file
    file = downloads / location
    if not file.exists() or _mismatch(file, checksum):
        _download(url, file, checksum)
    return file


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive into a folder; does nothing for other files.

    Raises UserError if the archive is damaged or a member's path or link leads out of the folder, where
    nothing is written.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                opened.extractall(folder, filter="data")
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for name in opened.namelist():
                    if not (folder / name).resolve().is_relative_to(folder.resolve()):
                        raise UserError(
                            f"{archive}: its member {name} leads out of the folder that it is unpacked in; "
                            "get another archive"
                        )
                opened.extractall(folder)
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: {error}; get another archive") from None
    except (tarfile.ReadError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise UserError(f"{archive} is damaged ({error}): get it again") from None


def verify(file: Path, checksum: str | None) -> None:
    """Raise UserError if a file's checksum is not the expected one."""
    actual = _mismatch(file, checksum)
    if actual:
        raise UserError(
            f"{file} has the checksum {actual} and the task expects {checksum}: replace the file or correct "
            "the task"
        )


def _mismatch(file: Path, checksum: str | None) -> str | None:
    """The checksum of a file if it differs from the expected one, otherwise None."""
    if checksum is None:
        return None
    with open(file, "rb") as content:
        actual = hashlib.file_digest(content, _ALGORITHMS[len(checksum)]).hexdigest()
    return actual if actual != checksum.lower() else None


@contextmanager
def _only_one(file: Path) -> Iterator[None]:
    """Wait until no other process downloads this file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file.with_name(file.name + ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(url: str, file: Path, checksum: str | None) -> None:
    import requests

    part = file.with_name(file.name + ".part")
    with _only_one(file):
        if file.exists() and not _mismatch(file, checksum):
            return  # another process has downloaded it
        logger.info("downloading %s", url)
        try:
            _receive(url, part)
        except requests.RequestException as error:
            raise UserError(
                f"cannot download {url} ({_reason(error)}): run again where there is a network,"
                f" or put {file.name} into the folder that the setting `data_dir` names"
            ) from None
        actual = _mismatch(part, checksum)
        if actual:
            part.unlink()
            raise UserError(
                f"{url} has the checksum {actual} and the task expects {checksum}: the download was deleted"
            )
        os.replace(part, file)


def _receive(url: str, part: Path) -> None:
    """Write the content of `url` to `part`; continue an interrupted download if the server can."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer could not be resumed
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to send: either the file was complete, or the server has another file now.
            if response.headers.get("Content-Range", "").endswith(f"/{start}"):
                return
            part.unlink()
            return _receive(url, part)
        response.raise_for_status()
        with open(part, "ab" if response.status_code == requests.codes.partial_content else "wb") as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)


def _reason(error: Exception) -> str:
    response = getattr(error, "response", None)
    return f"HTTP {response.status_code}" if response is not None else type(error).__name__
