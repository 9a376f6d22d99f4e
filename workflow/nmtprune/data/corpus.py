"""Make a task's text: fetched and cleaned, in plain files with one sentence on each line."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import numpy

from nmtprune.data.clean import DROPS, clean
from nmtprune.data.fetch import Pair, Place, by_language, check_packing, fetch_all, read_references
from nmtprune.experiment import paths
from nmtprune.experiment.task import Cleaning, Task
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, digest, sha256_of, write_json, write_lines, write_table

LABELS = "labels.jsonl"  # labels of toy sentences for probing
COUNTS = ("split", "read", "kept", *DROPS)


def own_files(task: Task, data_dir: Path | None) -> list[str]:
    """The user's own corpus files that a task names, which a workflow watches for changes.

    Raises UserError if a file is missing or compressed in a format that cannot be read here.
    """
    files = []
    sources = list(itertools.chain.from_iterable(task.sources.values()))
    patterns = [source["files"] for source in sources if "files" in source]
    sides = [by_language(pattern, language) for pattern in patterns for language in task.languages]
    for named in (*sides, *itertools.chain.from_iterable(task.references.values())):
        candidates = [Path(named), *([data_dir / named] if data_dir else [])]
        file = next(filter(os.path.isfile, candidates), None)
        if file is None:
            raise UserError(
                f"task `{task.title}` names the file {named}, and there is no "
                f"{' or '.join(map(str, candidates))}"
            )
        with open(file, "rb") as stream:
            check_packing(stream, str(file))
        files.append(str(file))
    return files


def make_corpus(task: Task, folder: Path, data_dir: Path | None, downloads: Path) -> None:
    """Write `<split>.<language>` for every split of a task, then `counts.csv`, and `manifest.json` last.

    Further references of test sets are `<split>.<target language>.2`, `.3` and so on.

    Only training pairs are ever dropped. Development and test lines stay as they are, except for white
    space at their ends, so that scores compare with those of others. Toy corpora also get
    `<split>.labels.jsonl`. Raises UserError where a source cannot be read or a split has no pair left.
    """
    place = Place(*task.languages, data_dir, downloads)
    cleaning, held_out = task.cleaning, task.held_out
    (folder / "manifest.json").unlink(missing_ok=True)
    counts = {split: nothing_yet() for split in task.splits}
    with ExitStack() as stack:
        writers = {split: _Writer(folder, split, place.languages, stack) for split in counts}
        for number, pair in enumerate(clean(fetch_all(task.train, place), cleaning, counts["train"]), 1):
            writers["dev" if held_out and number % held_out == 0 else "train"].write(_cased(pair, cleaning))
        if held_out:
            moved = Counter(dict.fromkeys(("read", "kept"), writers["dev"].written))
            counts["train"].subtract(moved)
            counts["dev"].update(moved)
        for split, sources in task.sources.items():
            for source, target, *labels in fetch_all(sources, place) if split != "train" else ():
                counts[split].update(("read", "kept"))
                writers[split].write(_cased((source.strip(), target.strip(), *labels), cleaning))
        for split, counted in counts.items():
            if not counted["kept"]:
                raise UserError(
                    f"no sentence pair is left in `{split}` of {counted['read']} read: see its sources and "
                    "`cleaning`"
                )
        _write_references(task, folder, place, counts)
    if sample := task.sample:
        counts["train"]["kept"] = keep_sample(
            folder, task, counts["train"]["kept"], sample.pairs, sample.seed
        )
    write_manifest(folder, task, counts)


def _write_references(
    task: Task, folder: Path, place: Place, counts: Mapping[str, Mapping[str, int]]
) -> None:
    """Write the further references of test sets. Raises UserError where a set has not as many sentences."""
    for test_set in task.tests:
        for outdated in folder.glob(f"{test_set}.{task.target}.*"):
            outdated.unlink()
    for test_set, files in task.references.items():
        for number, named in enumerate(files, 2):
            lines = read_references(named, place)
            if len(lines) != counts[test_set]["kept"]:
                raise UserError(
                    f"references: {test_set}: {named} has {len(lines)} lines, and the test set has "
                    f"{counts[test_set]['kept']}: each sentence needs a reference of its own"
                )
            cased = _lowered((line.strip() for line in lines), task.cleaning)
            write_lines(paths.reference(folder, test_set, task.target, number), cased)


def keep_sample(folder: Path, task: Task, lines: int, pairs: int, seed: int) -> int:
    """Keep a random sample of a text's training pairs in their order, and return its size.

    With equal seeds, a smaller sample is part of a larger one. Raises UserError if there are fewer than
    `pairs`.
    """
    if pairs > lines:
        raise UserError(f"sample: {pairs:,} pairs are asked for and cleaning keeps {lines:,}; ask for fewer")
    kept = numpy.zeros(lines, dtype=bool)
    kept[numpy.random.default_rng(seed).permutation(lines)[:pairs]] = True
    for file in (folder / f"train.{suffix}" for suffix in (*task.languages, LABELS)):
        if file.exists():
            with atomic(file) as temporary, open(file, "rb") as whole, open(temporary, "wb") as part:
                part.writelines(itertools.compress(whole, kept))
    return pairs


def nothing_yet() -> Counter[str]:
    """The counts of a split before anything is read."""
    return Counter(dict.fromkeys(COUNTS[1:], 0))


def write_pairs(folder: Path, split: str, task: Task, pairs: Iterable[Pair]) -> None:
    """Write `<split>.<language>` for both languages; incomplete files have other names."""
    with ExitStack() as stack:
        writer = _Writer(folder, split, task.languages, stack)
        for pair in pairs:
            writer.write(pair)


def write_manifest(folder: Path, task: Task, counts: Mapping[str, Mapping[str, int]], **facts: Any) -> None:
    """Write `counts.csv` and `manifest.json` of a complete text; the digest covers the text only."""
    write_table(
        folder / paths.COUNTS, ({"split": split, **counted} for split, counted in counts.items()), COUNTS
    )
    files = {file.name: sha256_of(file) for split in counts for file in sorted(folder.glob(f"{split}.*"))}
    write_json(
        folder / "manifest.json",
        {
            "digest": digest([*task.languages, files]),
            "files": files,
            "counts": {split: dict(counted) for split, counted in counts.items()},
            "sources": {split: task.said[split] for split in ("train", "dev", "test")},
            "cleaning": task.cleaning.said,
            **facts,
        },
    )


def _cased(pair: Pair, cleaning: Cleaning) -> Pair:
    return (*_lowered(pair[:2], cleaning), *pair[2:])


def _lowered(lines: Iterable[str], cleaning: Cleaning) -> list[str]:
    return [line.lower() if cleaning.lowercase else line for line in lines]


class _Writer:
    """The files of one split, which get their names when the stack closes without an error."""

    def __init__(self, folder: Path, split: str, languages: tuple[str, str], stack: ExitStack) -> None:
        self._prefix, self._stack = folder / split, stack
        self._files = [self._open(language) for language in languages]
        self.written = 0

    def _open(self, suffix: str) -> TextIO:
        temporary = self._stack.enter_context(atomic(self._prefix.with_name(f"{self._prefix.name}.{suffix}")))
        return self._stack.enter_context(open(temporary, "w", encoding="utf-8", newline="\n"))

    def write(self, pair: Pair) -> None:
        if len(pair) > len(self._files):
            self._files.append(self._open(LABELS))
        for file, line in zip(self._files, pair, strict=True):
            file.write(line + "\n")
        self.written += 1
