"""Make a task's data folder: subwords, and the text in subwords, binarised for training."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths
from nmtprune.experiment.subwords import given_files, name_of
from nmtprune.experiment.task import Task
from nmtprune.fairseq_bridge.binarise import FAIRSEQ_SPLIT, binarise, unknown
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import digest, sha256_of, write_json
from nmtprune.store import manifest

# Largest share of unknown pieces in a set by kind of subwords: for an imported model, and for a model trained
# here in excess of the share in its training data.
UNKNOWN_OF_GIVEN = {"sentencepiece": 0.05, "bpe": 0.05, "words": 0.2}
UNKNOWN_BEYOND_TRAINING = {"sentencepiece": 0.2, "bpe": 0.2, "words": 0.5}


def make_data(task: Task, settings: Mapping[str, Any], text_folder: Path, folder: Path) -> None:
    """Learn a task's subwords (or copy given ones), encode and binarise its text; write `manifest.json` last.

    The digest in the manifest covers what training sees: dictionaries, training and development data.
    Raises UserError where text or subwords are missing or do not fit.
    """
    languages = task.languages
    text = manifest.read(text_folder / paths.MANIFEST)["digest"]  # fails unless the text is complete
    (folder / paths.MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(paths.binarised(folder), ignore_errors=True)
    if settings["type"] == "given":
        subwords = Subwords.given(settings, languages, folder)
    else:
        subwords = Subwords.train(settings, text_folder, languages, folder)
    sizes = binarise(text_folder, task.splits, subwords, paths.binarised(folder))
    shares = {split: unknown(paths.binarised(folder), split, languages) for split in task.splits}
    check_unknown(task, settings, subwords.settings["type"], shares)
    files = {file.name: sha256_of(file) for file in sorted(paths.binarised(folder).iterdir())}
    seen = ("dict.", "train.", f"{FAIRSEQ_SPLIT['dev']}.")
    write_json(
        folder / paths.MANIFEST,
        {
            "digest": digest({name: checksum for name, checksum in files.items() if name.startswith(seen)}),
            "subwords": name_of(settings),
            "types": sizes,
            "unknown": shares,
            "text": text,
            "files": files,
        },
    )


def check_unknown(
    task: Task,
    settings: Mapping[str, Any],
    kind: str,
    unknown: Mapping[str, Mapping[str, float]],
) -> None:
    """Raise UserError if too many pieces of a set are not in its dictionary.

    `kind`: kind of the subwords; `unknown`: shares of all pieces by split and language.
    """
    given = settings["type"] == "given"
    for split, shares in unknown.items():
        for language, share in shares.items():
            if given and share > UNKNOWN_OF_GIVEN[kind]:
                source, target = shares
                dictionary = given_files(settings, (source, target))[language == target]
                other = (
                    "is the text in another language or script?"
                    if "marian" in settings
                    else "was the model trained with other subwords than "
                    f"`subwords: {settings.get('model') or 'null'}`?"
                )
                raise UserError(
                    f"import `{settings['name']}`: {share:.0%} of the pieces of `{split}` ({language}) are "
                    f"unknown to {dictionary}, and at most {UNKNOWN_OF_GIVEN[kind]:.0%} may be; {other}"
                )
            if not given and share - unknown["train"][language] > UNKNOWN_BEYOND_TRAINING[kind]:
                raise UserError(
                    f"task `{task.title}`: {share:.0%} of the pieces of `{split}` ({language}) are "
                    "unknown, and "
                    f"{unknown['train'][language]:.0%} of the training data's: is the set in another "
                    "language, script or encoding?"
                )
