"""Versions of packages, as manifests and pages record them. No identity reads them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from pathlib import Path


def of(package: str) -> str:
    """The installed version, of PyTorch with its build (`2.13.0+cu130`), which the metadata of its wheels may
    lack. It is not imported for it, which takes seconds. Raises PackageNotFoundError.
    """
    version = importlib.metadata.version(package)
    if package == "torch":
        file = Path(importlib.util.find_spec("torch").origin).with_name("version.py")
        said = re.search(r"""^__version__ = ['"](.+)['"]""", file.read_text(encoding="utf-8"), re.MULTILINE)
        return said[1] if said else version
    return version
