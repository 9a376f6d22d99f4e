"""Files from the network: into place only once they are whole and their checksum is right."""

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
_SECONDS = (20, 60)  # to connect, to wait for the next bytes
_CHUNK = 1 << 16


def obtain(url: str, checksum: str | None, data_dir: Path | None, downloads: Path) -> Path:
    """The file behind `url`: from `data_dir` if it is there, downloaded before, or downloaded now.

    `data_dir` may hold it by its base name, or as `downloads` does: by host and path. `checksum` is SHA-256
    or MD5 in hexadecimal. Raises UserError where the file cannot be had or is not the one the task means.
    """
    parts = urlsplit(url)
    place = Path(parts.netloc.replace(":", "_"), *PurePosixPath(unquote(parts.path).lstrip("/")).parts)
    if len(place.parts) < 2 or ".." in place.parts or "\0" in str(place):
        raise UserError(
            f"{url} does not name a file below its host: give the address of the file itself, without `..`"
        )
    if data_dir is not None:
        for file in (data_dir / place, data_dir / place.name):
            if os.path.isfile(file):
                verify(file, checksum)
                return file
    file = downloads / place
    if not file.exists() or _mismatch(file, checksum):
        _download(url, file, checksum)
    return file


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip archive into a folder; other files are left as they are.

    Raises UserError where a member's path or link leads out of the folder, or the archive is damaged; nothing
    is written outside.
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
    """Raises UserError where a file's checksum is not the expected one."""
    found = _mismatch(file, checksum)
    if found:
        raise UserError(
            f"{file} has the checksum {found} and the task expects {checksum}: replace the file or correct "
            "the task"
        )


def _mismatch(file: Path, checksum: str | None) -> str | None:
    """The checksum of a file where it differs from the expected one."""
    if checksum is None:
        return None
    with open(file, "rb") as content:
        found = hashlib.file_digest(content, _ALGORITHMS[len(checksum)]).hexdigest()
    return found if found != checksum.lower() else None


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
            return  # another process was faster
        logger.info("downloading %s", url)
        try:
            _receive(url, part)
        except requests.RequestException as error:
            raise UserError(
                f"cannot download {url} ({_reason(error)}): run again where there is a network,"
                f" or put {file.name} into the folder that the setting `data_dir` names"
            ) from None
        found = _mismatch(part, checksum)
        if found:
            part.unlink()
            raise UserError(
                f"{url} has the checksum {found} and the task expects {checksum}: nothing of it was kept"
            )
        os.replace(part, file)


def _receive(url: str, part: Path) -> None:
    """Write what `url` holds to `part`, from where an interrupted download stopped if the server can."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # a compressed transfer could not be resumed
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # Nothing is left to send: the file was whole already, or it is another file now.
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
