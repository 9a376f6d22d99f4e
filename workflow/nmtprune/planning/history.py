"""What earlier jobs here have cost, per unit of work (results/costs)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nmtprune.experiment import paths
from nmtprune.experiment.chain import Chain, parse
from nmtprune.experiment.config import Config
from nmtprune.fairseq_bridge import precision
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_table
from nmtprune.planning.jobs import STEP, Job, rule_of
from nmtprune.store import manifest

Key = tuple[str, ...]
IDLE = 0.01  # a job that works for a smaller share of its time has only waited for another process
OF_ITS_KIND = slice(2)  # the keys of jobs of the same kind and recipe, among all keys of a job
LOOKED_AT = {"score": paths.SCORES, "variants": paths.VARIANTS}


class History:
    """The cost of earlier jobs per unit of work, by kind of job, task and recipe."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sums: dict[Key, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        self.jobs = 0
        for file in sorted(paths.COSTS.rglob("*.json")):
            if (
                file not in (paths.CALIBRATIONS, paths.LEAST_COSTS)
                and (cost := read_json(file))["verb"] != "render"
            ):
                self._add(file, cost)

    def _add(self, file: Path, cost: Mapping[str, Any]) -> None:
        try:
            job, units = _past(self._config, file, cost["verb"])
        except (UserError, KeyError, OSError):
            return  # its task or recipe is gone, or it was not finished
        seconds = cost["seconds"] if "gpu" in cost else cost["cpu_seconds"]
        if seconds < IDLE * cost["seconds"]:
            return  # it waited for another process, which did the work
        if job.trains:
            # the manifest counts all parts of a training that was interrupted
            trained = read_json(paths.manifest(job.subject))["wall_seconds"]
            seconds *= max(1.0, trained / max(cost["seconds"], 0.01))
        used = manifest.precision_of(read_json(paths.manifest(job.subject))) if job.trains else ""
        self.jobs += 1
        for key in _keys(job, "gpu" in cost, used):
            before = self._sums[key]
            self._sums[key] = before[0] + seconds, before[1] + units

    def seconds(self, job: Job, gpu: bool, units: float, keys: slice = slice(None)) -> float | None:
        """The estimated seconds of a job, from the most similar jobs that have run; None if there are none.

        `units`: the amount of its work, as `units_of`. `keys`: which of the job's keys to look up.
        """
        to_use = (
            precision.of_schedule(self._config, job.subject.recipe, job.subject.last.schedule).used
            if job.trains
            else ""
        )
        known = (self._sums[key] for key in _keys(job, gpu, to_use)[keys] if key in self._sums)
        return next((units * seconds / work for seconds, work in known if work), None)


def _past(config: Config, file: Path, verb: str) -> tuple[Job, float]:
    """The job that a file of results/costs belongs to, and its amount of work."""
    made = file.relative_to(paths.COSTS).with_suffix("")
    if verb in ("text", "data", "shortlist"):
        return Job(verb, verb, file, file, made.parts[1]), 1
    if verb == "speed":
        return Job(verb, verb, file, file, made.name), _chains_in(paths.speed(made.parts[1], made.name))
    address = str(made.relative_to(paths.MODELS.name))
    if verb == "run":
        chain = parse(address)
        job = Job(chain.last.kind.rule, STEP, file, file, chain.task, chain=chain)
        return job, _updates_work(config, chain, read_json(paths.manifest(chain)).get("updates", 0))
    address, _, what = address.rpartition(".")
    does, chain = verb if verb in LOOKED_AT else what, parse(address)
    units = _chains_in(paths.model(chain) / paths.VARIANTS) if verb == "variants" else 1
    return Job(verb if verb == "shard" else rule_of(does), does, file, file, chain.task, chain=chain), units


def _chains_in(table: Path) -> int:
    return len({row["chain"] for row in read_table(table)})


def _updates_work(config: Config, chain: Chain, updates: int) -> float:
    if not chain.last.kind.trains:
        return 1
    return updates * config.schedule(chain.recipe, chain.last.schedule).tokens_per_update


def units_of(config: Config, job: Job) -> float:
    """The amount of work of a job: tokens that a training sees, models scored or timed together, else 1."""
    if job.trains:
        return _updates_work(
            config, job.subject, config.schedule(job.subject.recipe, job.subject.last.schedule).updates
        )
    return max(1, len(job.models))


def _keys(job: Job, gpu: bool, used: str) -> list[Key]:
    """The keys under which costs of similar jobs are kept, the most similar first.

    The first is for the same kind of job, task and recipe. `used`: the precision of a training; trainings in
    another precision count as different.
    """
    device = "gpu" if gpu else "cpu"
    if job.trains:
        device = f"{device}, {used}"
        nearest = [
            (job.subject.last.schedule, job.task, job.subject.recipe),
            (job.rule, job.task, job.subject.recipe),
            (job.rule, job.subject.recipe),
        ]
        return [
            (device, *key)
            for key in (*nearest, ("trains", job.task, job.subject.recipe), ("trains", job.subject.recipe))
        ]
    if not job.chain:
        return [(device, job.does, job.task)]
    nearest = [(job.rule, job.does, job.task, job.subject.recipe), (job.rule, job.does, job.subject.recipe)]
    return [(device, *key) for key in (*nearest, (job.rule, job.does, "any"))]
