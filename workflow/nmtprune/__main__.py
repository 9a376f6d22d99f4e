"""`nmtprune <verb>` and `python -m nmtprune <verb>`: see nmtprune.cli.verbs.

Nothing is imported here that a job of the warm process does not need.
"""

import sys
from typing import NoReturn

from nmtprune.runtime import fork_server

CLI = "nmtprune.cli.verbs"


def main() -> int:
    status = fork_server.run_there(sys.argv, CLI)
    if status is not None:
        return status
    from nmtprune.cli import verbs

    return verbs.main()


def console() -> NoReturn:
    """The console script."""
    fork_server.leave(main())


if __name__ == "__main__":
    console()
