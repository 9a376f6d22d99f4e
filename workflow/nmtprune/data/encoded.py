"""A task's text in subwords, as the toolkit trains on it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmtprune import checks, manifest, paths
from nmtprune.data.corpus import languages_of, splits_of
from nmtprune.data.subwords import Subwords, name_of
from nmtprune.files import digest, sha256_of, write_json


def make_data(task: Mapping[str, Any], settings: Mapping[str, Any], text_folder: Path, folder: Path) -> None:
    """Learn a task's subwords (or take given ones), encode and binarise its text; write `manifest.json` last.

    The manifest's digest speaks of what training sees: dictionaries, training and development data. Raises UserError.
    """
    from nmtprune.toolkit.binarise import FAIRSEQ_SPLIT, binarise, unknown

    languages = languages_of(task)
    text = manifest.read(text_folder / paths.MANIFEST)["digest"]  # of a text that is whole
    (folder / paths.MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(paths.binarised(folder), ignore_errors=True)
    if settings["type"] == "given":
        subwords = Subwords.given(settings, languages, folder)
    else:
        subwords = Subwords.train(settings, text_folder, languages, folder)
    sizes = binarise(text_folder, splits_of(task), subwords, paths.binarised(folder))
    shares = {split: unknown(paths.binarised(folder), split, languages) for split in splits_of(task)}
    checks.of_data(task, settings, subwords.settings["type"], shares)
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
