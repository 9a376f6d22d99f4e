"""Run fairseq's own command-line tools with the repairs of `shim` and our architectures and criterion.

Without the repairs, the release does not start on a current Python.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from nmtprune.fairseq_bridge import (
    TOOLS,
    nmtprune_plugin,  # noqa: F401 (registers our architectures)
    shim,  # noqa: F401
)
from nmtprune.foundation.errors import UserError, suggest


def run(tool: str, arguments: Sequence[str]) -> None:
    """Run `fairseq-<tool>` with `arguments` in this process; raises UserError for an unknown tool."""
    if tool not in TOOLS:
        raise UserError(f"fairseq: unknown tool `{tool}`; {suggest(tool, TOOLS)}")
    sys.argv = [f"fairseq-{tool}", *arguments]
    importlib.import_module(f"fairseq_cli.{tool.replace('-', '_')}").cli_main()
