"""Snakemake that checks its Slurm jobs every two seconds.

The plug-in waits ten seconds longer each time, which is long for a test.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(
    lambda executor: 2, lambda executor, seconds: None
)

if __name__ == "__main__":
    sys.exit(main())
