"""The cost of a job: time, memory and the GPU. Rules record it under results/costs, where plans read it."""

from __future__ import annotations

import resource
import sys
from typing import Any


def of_this_process(verb: str, seconds: float) -> dict[str, Any]:
    """The cost of this process and of those that it started.

    `seconds` of wall-clock time are given; added are CPU seconds, the peak memory of the largest process in
    MB, and, if a GPU was used, its name and its peak memory in MB.
    """
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (own, children))
    cost = {
        "verb": verb,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "memory_mb": max(own.ru_maxrss, children.ru_maxrss) // 1024,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        cost |= {
            "gpu": torch.cuda.get_device_name(),
            "gpu_memory_mb": torch.cuda.max_memory_reserved() // 2**20,
        }
    return cost
