"""What a job has cost: time, memory, the GPU. Rules record it under results/costs; plans are made from it."""

from __future__ import annotations

import resource
import sys
from typing import Any


def of_this_process(verb: str, seconds: float) -> dict[str, Any]:
    """The cost of the process that has worked for so many `seconds`, and of what it has started: CPU seconds,
    peak memory in MB (of the largest process), and, where it has used a GPU, its name and peak memory
    there.
    """
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in (own, children))
    found = {
        "verb": verb,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "memory_mb": max(own.ru_maxrss, children.ru_maxrss) // 1024,
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        found |= {
            "gpu": torch.cuda.get_device_name(),
            "gpu_memory_mb": torch.cuda.max_memory_reserved() // 2**20,
        }
    return found
