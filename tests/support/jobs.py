"""Made-up jobs, and made-up costs of finished jobs."""

from __future__ import annotations

from pathlib import Path

from nmtprune.experiment import chain as chains
from nmtprune.experiment import paths
from nmtprune.foundation.files import write_json
from nmtprune.planning.jobs import Job


def job_of(
    address: str, does: str = "step", rule: str = "any", makes: str = "made", needs: tuple[Path, ...] = ()
) -> Job:
    """A job of a chain."""
    return Job(rule, does, Path(makes), Path("log"), "toy", needs, chains.parse(address))


def record(chain: str, updates: int, seconds: float, cpu: float, wall: float | None = None) -> None:
    """Write the manifest and the cost of a finished job."""
    model = chains.parse(chain)
    write_json(paths.manifest(model), {"updates": updates, "wall_seconds": wall or seconds})
    cost = {"verb": "run", "seconds": seconds, "cpu_seconds": cpu, "memory_mb": 300}
    write_json(paths.cost(paths.log(paths.model(model))), cost)
