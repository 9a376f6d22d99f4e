"""The commands that messages print, complete enough to be pasted.

Each repeats the settings that this process was given, so that it is about the same run.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Given:
    """What a process was given beside config.yaml: a configuration file, and settings as `key=value`."""

    configfile: Path | None = None
    settings: tuple[str, ...] = ()


_given = Given()


def remember(configfile: Path | None = None, settings: Iterable[str] = ()) -> None:
    """Remember what this process was given; commands printed later repeat it."""
    global _given
    _given = Given(configfile, tuple(settings))


def nmtprune(verb: str, *words: str) -> str:
    """`python -m nmtprune <verb> ...` for this run."""
    file = ["--configfile", str(_given.configfile)] if _given.configfile else []
    return shlex.join(
        [
            "python",
            "-m",
            "nmtprune",
            verb,
            *words,
            *file,
            *(word for each in _given.settings for word in ("--set", each)),
        ]
    )


def snakemake(*words: str, settings: Iterable[str] = ()) -> str:
    """`snakemake --cores all ...` for this run; `settings` (`key=value`) come last and override others."""
    file = ["--configfile", str(_given.configfile)] if _given.configfile else []
    pairs = [*_given.settings, *settings]
    config = ["--config", *pairs] if pairs else []
    return shlex.join(["snakemake", "--cores", "all", *words, *file, *config])
