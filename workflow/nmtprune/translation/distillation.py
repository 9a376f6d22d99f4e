"""Make the text of a distilled task: its training targets are translated by a teacher.

Sequence-level distillation (Kim and Rush 2016, section 3.2). The teacher is one model or an ensemble
over seeds, trained on the task that is distilled. Sources, development and test sets with references are
those of that task.
"""

from __future__ import annotations

import gzip
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from nmtprune.data.clean import clean
from nmtprune.data.corpus import nothing_yet, write_manifest, write_pairs
from nmtprune.data.fetch import Pair, lines_of
from nmtprune.data.subwords import Subwords
from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import atomic, digest, read_json, sha256_of, write_json
from nmtprune.foundation.known import known
from nmtprune.store import manifest, units
from nmtprune.store.model import Model, of_chain
from nmtprune.store.state import link, lock
from nmtprune.translation.batching import translate_lines
from nmtprune.translation.engine import Engine
from nmtprune.translation.opening import open_engine

VERSION = 2  # raised when translations change without a change of task or recipe


class Teacher:
    """One model in the fastest engine that supports it, or an ensemble of models in fairseq's generator."""

    def __init__(self, config: Config, chains: Sequence[Chain], beam: int) -> None:
        decoding = config.recipe(chains[0].recipe).decoding
        models = [of_chain(config, chain) for chain in chains]
        self._engine = _engine(models, decoding.engine, config.settings["device"])
        self._subwords = Subwords.load(config.data_folder(chains[0]))
        self._longest = min(model.max_source_length for model in models)
        self._search = replace(decoding.search, beam=beam)
        self.engine = self._engine.name

    def translate(self, lines: Sequence[str]) -> list[str | None]:
        """The best hypothesis of each line, detokenised; None if the line exceeds the model's positions."""
        return translate_lines(self._engine, self._subwords, lines, self._search, self._longest)


def _engine(models: Sequence[Model], name: str, device: str) -> Engine:
    if len(models) == 1:
        return open_engine(models[0], name, device=device)
    from nmtprune.fairseq_bridge.generation import FairseqEngine  # noqa: PLC0415 - fairseq takes seconds

    return FairseqEngine(models[0], device, models[1:])


def make_distilled(config: Config, name: str) -> None:
    """Write the text of a distilled task, with the files that `make_corpus` writes.

    The manifest also has `distilled`. The training sources are translated in shards that are stored
    under the digest of everything they depend on, so that a killed distillation continues with its last
    shard. Translations are cleaned like the task's pairs. Raises UserError if the teacher or the text of
    the teacher's task is missing, and if no pair is left.
    """
    task, folder = config.task(name), paths.text(name)
    distilled = known(task.distilled)
    below, state = paths.text(distilled.from_), paths.state(folder)
    if kept := units.Kept(config).text(name):
        _restore(kept, below, folder, task)
        return
    text = manifest.read(below / paths.MANIFEST)
    teachers = {str(chain): manifest.read(paths.manifest(chain))["digest"] for chain in config.teachers(name)}
    sources = f"train.{task.source}"
    lines, shards = text["counts"]["train"]["kept"], distilled.shards
    pairs = min(lines, distilled.sample or lines)

    def sampled() -> Iterator[str]:
        with open(below / sources, "rb") as stream:
            yield from evenly_spaced(lines_of(stream, str(below / sources)), lines, pairs)

    with lock(state):
        (folder / paths.MANIFEST).unlink(missing_ok=True)
        teacher = Teacher(config, config.teachers(name), distilled.beam)
        identity = digest(
            {
                "version": VERSION,
                "teachers": teachers,
                "decoding": config.recipe(distilled.recipe).decoding.said,
                "settings": {key: distilled.whole[key] for key in ("beam", "shards", "sample")},
                "engine": teacher.engine,
                "sources": text["files"][sources],
            }
        )
        files = [
            state / identity / f"shard-{number:0{len(str(shards - 1))}}.json" for number in range(shards)
        ]
        sizes = [(number + 1) * pairs // shards - number * pairs // shards for number in range(shards)]
        _translate_shards(teacher, sampled(), files, sizes)
        counts = {**text["counts"], "train": nothing_yet()}
        outgrown: Counter[str] = Counter()
        translated = _taken(zip(sampled(), _translations(files), strict=True), outgrown)
        write_pairs(folder, "train", task, clean(translated, task.cleaning, counts["train"]))
        if not counts["train"]["kept"]:
            raise UserError(
                f"task `{name}`: none of the {pairs} translations by its teacher {next(iter(teachers))} "
                "passes `cleaning`"
            )
        for file in (
            file for split in counts if split != "train" for file in sorted(below.glob(f"{split}.*"))
        ):
            link(file, folder / file.name)
        facts = {"teachers": teachers, "engine": teacher.engine, "sentences": pairs, **outgrown}
        write_manifest(folder, task, counts, distilled={**distilled.whole, **facts})
        for other in state.iterdir():
            if other.is_dir() and other.name != identity:
                shutil.rmtree(other)


def keep_distilled(folder: Path, kept: Path) -> list[Path]:
    """Keep a distilled task's training pairs, compressed, and its manifest; return these files.

    The manifest is written last.
    """
    kept.mkdir(parents=True, exist_ok=True)
    written = []
    for file in sorted(folder.glob("train.*")):
        written.append(kept / f"{file.name}.gz")
        with atomic(written[-1]) as temporary:
            # without a time, so that equal pairs give equal files
            temporary.write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    write_json(kept / paths.MANIFEST, read_json(folder / paths.MANIFEST))
    return [*written, kept / paths.MANIFEST]


def _restore(kept: Path, below: Path, folder: Path, task: Task) -> None:
    """Put a distilled task's text together from kept training pairs and the task below it.

    The task below it provides the other splits. Raises UserError if the result differs from the text
    that was kept, because a file was changed or the task below has other sets now.
    """
    whole = manifest.read(kept / paths.MANIFEST)
    with lock(paths.state(folder)):
        (folder / paths.MANIFEST).unlink(missing_ok=True)
        for name, checksum in whole["files"].items():
            if name.startswith("train."):
                with (
                    gzip.open(kept / f"{name}.gz") as packed,
                    atomic(folder / name) as temporary,
                    open(temporary, "wb") as plain,
                ):
                    shutil.copyfileobj(packed, plain)
            else:
                link(below / name, folder / name)
            if sha256_of(folder / name) != checksum:
                raise UserError(
                    f"{folder / name} is not what it was when {kept} was kept: remove that folder to "
                    "distil again"
                )
        write_manifest(folder, task, whole["counts"], distilled=whole["distilled"])


def _translate_shards(
    teacher: Teacher, sources: Iterator[str], files: Sequence[Path], sizes: Sequence[int]
) -> None:
    """Translate the shards that have no file yet.

    A shard's file is a JSON list of hypotheses, with null for a line that the teacher does not take.
    """
    for torn in files[0].parent.glob(".*.tmp"):
        torn.unlink()
    left = sum(not file.exists() for file in files)
    done = words = 0
    began = time.monotonic()
    for number, (file, size) in enumerate(zip(files, sizes, strict=True), 1):
        lines = list(islice(sources, size))
        if file.exists():
            continue
        write_json(file, teacher.translate(lines))
        done, words, seconds = (
            done + 1,
            words + sum(len(line.split()) for line in lines),
            time.monotonic() - began,
        )
        print(
            f"shard {number} of {len(files)}: {words / seconds:.0f} words/s, "
            f"{seconds * (left - done) / done:.0f} s left",
            flush=True,
        )


def evenly_spaced(lines: Iterable[str], total: int, wanted: int) -> Iterator[str]:
    """`wanted` of `total` lines in order, evenly spaced; all if there are fewer."""
    return (
        line for index, line in enumerate(lines) if (index + 1) * wanted // total > index * wanted // total
    )


def _translations(files: Iterable[Path]) -> Iterator[str | None]:
    for file in files:
        yield from read_json(file)


def _taken(pairs: Iterable[tuple[str, str | None]], counts: Counter[str]) -> Iterator[Pair]:
    """The pairs that have a translation; the others are counted."""
    counts["too_long"] = 0
    for source, translation in pairs:
        if translation is None:
            counts["too_long"] += 1
        else:
            yield source, translation
