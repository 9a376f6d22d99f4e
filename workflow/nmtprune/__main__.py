"""`nmtprune <verb>` and `python -m nmtprune <verb>`: see nmtprune.cli.verbs.

Only what every job of the warm process needs is imported at the top.
"""

import sys
from typing import NoReturn

from nmtprune.runtime import fork_server

CLI = "nmtprune.cli.verbs"


def main() -> int:
    """Run the verb of the command line, in the warm process if there is one; return the exit status."""
    status = fork_server.run_there(sys.argv, CLI)
    if status is not None:
        return status
    from nmtprune.cli import verbs

    return verbs.main()


def console() -> NoReturn:
    """Run the verb of the command line, and exit."""
    fork_server.leave(main())


if __name__ == "__main__":
    console()
