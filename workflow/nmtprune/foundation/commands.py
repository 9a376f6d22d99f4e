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
MACHINE = ("data_dir",)  # settings that hold on one machine alone


def remember(configfile: Path | None = None, settings: Iterable[str] = ()) -> None:
    """Remember what this process was given; commands printed later repeat it."""
    global _given
    _given = Given(configfile, tuple(settings))


def for_others() -> Given:
    """What this process was given, without settings that hold on this machine alone."""
    shared = (each for each in _given.settings if each.partition("=")[0] not in MACHINE)
    return Given(_given.configfile, tuple(shared))


def nmtprune(verb: str, *words: str, given: Given | None = None) -> str:
    """`python -m nmtprune <verb> ...` for this run; `given` in place of what this process was given."""
    given = given or _given
    file = ["--configfile", str(given.configfile)] if given.configfile else []
    return shlex.join(
        [
            "python",
            "-m",
            "nmtprune",
            verb,
            *words,
            *file,
            *(word for each in given.settings for word in ("--set", each)),
        ]
    )


def snakemake(*words: str, settings: Iterable[str] = (), given: Given | None = None) -> str:
    """`snakemake --cores all ...` for this run; `settings` (`key=value`) come last and override others.

    `given`: in place of what this process was given.
    """
    given = given or _given
    file = ["--configfile", str(given.configfile)] if given.configfile else []
    pairs = [*given.settings, *settings]
    config = ["--config", *pairs] if pairs else []
    return shlex.join(["snakemake", "--cores", "all", *words, *file, *config])
