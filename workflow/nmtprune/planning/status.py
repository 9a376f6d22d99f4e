"""The status of a run (what is done, running and left), read from the files that steps write."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain
from nmtprune.experiment.config import Config
from nmtprune.experiment.run import Run
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table
from nmtprune.store import current, manifest, units
from nmtprune.store.state import is_locked, this_machine

DONE, RUNNING, INTERRUPTED, FAILED, WAITING = "done", "running", "interrupted", "failed", "waiting"
# A lock may be invisible on another machine: a training there counts as alive while its progress report is no
# older than this.
SECONDS_ALIVE = 120


@dataclass(frozen=True)
class Entry:
    """One model of the run; `seconds_left`: of its own training, 0 if it is done, None if unknown."""

    chain: Chain
    status: str
    detail: str = ""
    log: Path | None = None
    seconds_left: float | None = 0.0


def status(run: Run) -> str:
    """The output of `python -m nmtprune status`.

    It is a table of the run's models with the status of each, totals, the time left as far as it is known,
    and the logs of failed jobs.
    """
    config, models, asked, kept_units = run.config, run.models, set(run.scored), units.Kept(run.config)
    parents = {model.parent for model in models}
    # a model that is only pruned is scored from its parent's weights, and made only if another step follows
    made = [model for model in models if model in parents or not model.last.kind.selects]
    outdated = current.outdated()
    targets = kept_units.targets(run)
    kept = _kept(models, targets, kept_units)
    made_here = [model for model in made if model not in kept]
    scored = {chain for chain in asked - kept if paths.scores(chain) not in outdated and _has_scores(chain)}
    finished = {
        model for model in made_here if _data(config, model) not in outdated and _is_made(config, model)
    }
    rate = _seconds_per_token(config, made_here, finished)

    def entry_of(model: Chain) -> Entry:
        if model in kept:
            return Entry(model, DONE, "kept")
        if model in made_here:
            return _model(config, model, model in asked - scored, model in finished, rate)
        return _variant(model, model in scored)

    entries = [entry_of(model) for model in models]
    lines = [config.heading, *_table(entries), ""]
    done, with_scores = len(made) - len(made_here) + len(finished), len(asked & kept) + len(scored)
    lines.append(f"{done} of {len(made)} models made, {with_scores} of {len(asked)} scored")
    lines += _analyses(targets, outdated)
    lines += _left(entries)
    lines += _precisions(config, made_here, finished)
    lines += _failures(entries)
    return "\n".join(lines)


def _kept(models: Iterable[Chain], targets: Iterable[Path], kept_units: units.Kept) -> set[Chain]:
    """The models in units that are read from kept results.

    Raises UserError if a file of such a unit is missing or was changed.
    """
    made_here = units.by_unit(targets)
    return {
        model for model in models if (unit := paths.unit(model)) not in made_here and kept_units.has(unit)
    }


def duration(seconds: float) -> str:
    """A duration as text: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _has_scores(chain: Chain) -> bool:
    try:
        return any(row["chain"] == str(chain) for row in read_table(paths.scores(chain)))
    except FileNotFoundError:
        return False


def _is_made(config: Config, chain: Chain) -> bool:
    """Whether a model has been made, with the current settings."""
    try:
        return manifest.read(paths.manifest(chain))["digest"] == manifest.digest_of(config, chain)
    except UserError:
        return False


def progress_of(chain: Chain) -> dict[str, Any] | None:
    """What a training has last reported; None before its first report."""
    file = paths.state(paths.model(chain)) / paths.PROGRESS
    return read_json(file) if file.exists() else None


def is_alive(chain: Chain, progress: Mapping[str, Any] | None) -> bool:
    """Whether a process works on a model: it holds the lock here, or reports progress from elsewhere."""
    return is_locked(paths.state(paths.model(chain))) or (
        progress is not None
        and progress.get("machine") != this_machine()
        and abs(time.time() - progress["time"]) < SECONDS_ALIVE
    )


def _data(config: Config, chain: Chain) -> Path:
    return config.data_folder(chain) / paths.MANIFEST


def _tokens(config: Config, chain: Chain, updates: int) -> int:
    return updates * config.schedule(chain.recipe, chain.last.schedule).tokens_per_update


def _seconds_per_token(
    config: Config, made: Iterable[Chain], finished: set[Chain]
) -> dict[tuple[str, str], float]:
    """Seconds of training per token of a batch, by task and recipe, from this run's trainings so far."""
    sums: dict[tuple[str, str], tuple[float, int]] = {}
    for chain in made:
        if not chain.last.kind.trains:
            continue
        if chain in finished:
            facts = manifest.read(paths.manifest(chain))
            seconds, updates = facts.get("wall_seconds"), facts.get("updates")
        else:
            facts = progress_of(chain) or {}
            seconds, updates = facts.get("seconds"), facts.get("update")
        if seconds and updates:
            before = sums.get((chain.task, chain.recipe), (0.0, 0))
            sums[chain.task, chain.recipe] = (
                before[0] + seconds,
                before[1] + _tokens(config, chain, updates),
            )
    return {key: seconds / tokens for key, (seconds, tokens) in sums.items()}


def _model(
    config: Config, chain: Chain, to_score: bool, made: bool, rate: Mapping[tuple[str, str], float]
) -> Entry:
    directory = paths.model(chain)
    if made:
        return _scoring(chain) if to_score else Entry(chain, DONE)
    progress = progress_of(chain)
    left = progress["seconds_left"] if progress else None if chain.last.kind.trains else 0.0
    at = f"update {progress['update']} of {progress['updates']}" if progress else ""
    if is_alive(chain, progress):
        return Entry(
            chain,
            RUNNING,
            f"{at}, {duration(progress['seconds_left'])} left" if progress else "",
            seconds_left=left,
        )
    if progress is None and chain.last.kind.trains:
        per_token = rate.get((chain.task, chain.recipe))
        updates = config.schedule(chain.recipe, chain.last.schedule).updates
        left = per_token and per_token * _tokens(config, chain, updates)
    before = (
        folder
        for folder in (_data(config, chain).parent, paths.text(chain.task))
        if not (folder / paths.MANIFEST).exists()
    )
    for log in map(paths.log, (directory, *before)):
        if error := _error(log):
            return Entry(chain, FAILED, error, log, left)
    if paths.state(directory).exists():
        detail = (
            f"after {at}; the same command continues from the last saved state"
            if at
            else "the same command continues"
        )
        return Entry(chain, INTERRUPTED, detail, seconds_left=left)
    return Entry(chain, WAITING, seconds_left=left)


def _scoring(chain: Chain) -> Entry:
    """The entry of a model that has been made but not scored."""
    if is_locked(paths.state(paths.model(chain))):
        return Entry(chain, RUNNING, "scoring")
    log, model = paths.log(paths.scores(chain)), paths.manifest(chain)
    error = _error(log)
    if error and log.stat().st_mtime > model.stat().st_mtime:
        return Entry(chain, FAILED, f"scoring: {error}", log)
    return Entry(chain, DONE, "not scored yet")


def _variant(chain: Chain, scored: bool) -> Entry:
    if scored:
        return Entry(chain, DONE)
    if is_locked(paths.state(paths.model(chain))):
        return Entry(chain, RUNNING, "scoring")
    log = paths.log(paths.scores(chain))
    error = _error(log)
    return Entry(chain, FAILED, f"scoring: {error}", log) if error else Entry(chain, WAITING)


def _error(log: Path) -> str | None:
    """The sentence that a failed job ended with; None if its log holds no error."""
    if not log.exists():
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines[-5:] if line.startswith("nmtprune: ")]
    if errors:
        return errors[-1].removeprefix("nmtprune: ")
    return lines[-1] if any(line.startswith("Traceback (most recent call last)") for line in lines) else None


def _table(entries: Iterable[Entry]) -> Iterator[str]:
    """One block for each task, recipe and seed, with the steps, status and details of each model."""
    for root, group in groupby(
        entries, key=lambda entry: (entry.chain.task, entry.chain.recipe, entry.chain.seed)
    ):
        rows = [(entry.chain.steps_text, entry) for entry in group]
        width = max(len(steps) for steps, _ in rows)
        yield ""
        yield "{}/{}/s{}".format(*root)
        for steps, entry in rows:
            yield f"  {steps:<{width}}  {entry.status:<11}  {entry.detail}".rstrip()


def _analyses(targets: Iterable[Path], outdated: set[Path]) -> list[str]:
    """A line with the number of analyses that have run, of those that tables and figures read."""
    wanted = [file for file in targets if file.name not in (paths.SCORES, paths.VARIANTS, paths.MANIFEST)]
    return (
        [f"{sum(file.exists() and file not in outdated for file in wanted)} of {len(wanted)} analyses made"]
        if wanted
        else []
    )


def _left(entries: list[Entry]) -> list[str]:
    """A line with the time that the remaining trainings will take.

    Trainings without a timed training of the same task and recipe are named as not timed.
    """
    left = {entry.chain: entry.seconds_left for entry in entries}
    unknown = sorted({f"{chain.task}/{chain.recipe}" for chain, seconds in left.items() if seconds is None})
    known = sum(seconds or 0.0 for seconds in left.values())
    if unknown and not known:
        return ["time left: not known before a training has run for some seconds"]
    if not known:
        return []
    at_once = max(1, sum(entry.status == RUNNING for entry in entries))
    longest = max(sum(left[ancestor] or 0.0 for ancestor in chain.ancestors()) for chain in left)
    sentence = (
        f"time left: about {duration(max(known / at_once, longest))} of training with {at_once} at a "
        "time; scoring not counted"
    )
    return [f"{sentence}; nor {', '.join(unknown)}, not timed yet" if unknown else sentence]


def _precisions(config: Config, made: Iterable[Chain], finished: set[Chain]) -> list[str]:
    """A line with the precisions of trainings that are done, running and to come.

    There is none if all trainings ask for single precision.
    """
    trained = [chain for chain in made if chain.last.kind.trains]
    if all(config.schedule(chain.recipe, chain.last.schedule).precision == "fp32" for chain in trained):
        return []
    used, to_come = Counter(), Counter()
    for chain in trained:
        progress = progress_of(chain)
        if chain in finished:
            used[manifest.precision_of(manifest.read(paths.manifest(chain)))] += 1
        elif progress:
            used[progress.get("precision", "fp32")] += 1
        else:
            chosen = precision.of_schedule(config, chain.recipe, chain.last.schedule)
            to_come[f"{chosen.used} ({chosen.reason})" if chosen.reason else chosen.used] += 1
    parts = [f"{number} in {words}" for words, number in used.items()]
    parts += [f"{number} to come in {words}" for words, number in to_come.items()]
    return [f"training precision: {', '.join(parts)}"]


def _failures(entries: Iterable[Entry]) -> Iterator[str]:
    logs = dict.fromkeys(entry.log for entry in entries if entry.status == FAILED and entry.log)
    if logs:
        yield "logs of failed jobs:"
        yield from (f"  tail -n 40 {_quoted(log)}" for log in logs)


def _quoted(path: Path) -> str:
    text = str(path)
    return text if re.fullmatch(r"[\w./-]+", text) else f"'{text}'"
