"""Write the example of a user's own run, docs/examples/own, into a new folder with a small corpus.

`python -m nmtprune init` calls this.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

from nmtprune.data import toy
from nmtprune.experiment import paths
from nmtprune.experiment.config import Config
from nmtprune.experiment.library import WORKFLOW
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_lines, write_text

HERE = "docs/examples/own"  # the folder that is named in the example's files
EXAMPLE = WORKFLOW.parent / HERE
SCHEMAS = WORKFLOW / "schemas"
LANGUAGES = ("src", "tgt")
SENTENCES = {"train": 6000, "dev": 200, "test": 500}


def write(folder: Path, config: Config) -> str:
    """Write the example into a new folder and return instructions for it.

    Raises UserError if the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"init: {folder} is there already; name a folder that is new or empty")
    name = config.name_after(folder.resolve().name)
    file = folder / "config.yaml"
    command = f"snakemake --cores all --configfile {shlex.quote(str(file))}"
    page = paths.page(name) / paths.INDEX
    for seed, (split, sentences) in enumerate(SENTENCES.items(), 1):
        pairs = list(toy.generate(sentences, 1000 + seed))
        for language, lines in zip(
            LANGUAGES, ([pair.source for pair in pairs], [pair.target for pair in pairs]), strict=True
        ):
            write_lines(folder / "corpus" / f"{split}.{language}", lines)
    adapted = {
        f"snakemake --cores all --configfile {HERE}/config.yaml": command,
        str(paths.page("own") / paths.INDEX): str(page),
        'name: "own"': f'name: "{name}"',
        HERE: json.dumps(str(folder), ensure_ascii=False)[1:-1],
    }
    for source in sorted(EXAMPLE.rglob("*.yaml")):
        target = folder / source.relative_to(EXAMPLE)
        schemas = {
            f"$schema={_between(SCHEMAS, source.parent)}/": f"$schema={_between(SCHEMAS, target.parent)}/"
        }
        write_text(target, _replaced(source.read_text(encoding="utf-8"), schemas | adapted))
    return "\n".join(
        [
            f"An example is in {folder}: corpus/, tasks/, recipes/ and config.yaml, with comments. Run it:",
            command,
            f"Its page: {page}",
        ]
    )


def _between(folder: Path, start: Path) -> str:
    """The relative path from the folder `start` to `folder`."""
    return Path(os.path.relpath(folder, start.resolve())).as_posix()


def _replaced(text: str, replacements: dict[str, str]) -> str:
    """A text with all replacements made at once, so that replaced parts are not replaced again."""
    old = re.compile("|".join(map(re.escape, replacements)))
    return old.sub(lambda match: replacements[match[0]], text)
