"""Versions of packages, as manifests and pages record them. They are part of no identity."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path

from nmtprune.foundation.known import known


def of(package: str) -> str:
    """The installed version of a package. Raises PackageNotFoundError.

    PyTorch's includes its build (`2.13.0+cu130`), which the metadata of its wheels may lack. The package is
    not imported, since that takes seconds.
    """
    version = importlib.metadata.version(package)
    if package == "torch":
        file = Path(known(known(importlib.util.find_spec("torch")).origin)).with_name("version.py")
        full = re.search(r"""^__version__ = ['"](.+)['"]""", file.read_text(encoding="utf-8"), re.MULTILINE)
        return full[1] if full else version
    return version
