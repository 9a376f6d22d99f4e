"""`python -m nmtprune <verb>`: see nmtprune.cli. Nothing is imported here that a job of the warm process does not need."""

import sys

from nmtprune import warm

CLI = "nmtprune.cli"


def main() -> int:
    status = warm.run_there(sys.argv, CLI)
    if status is not None:
        return status
    from nmtprune import cli

    return cli.main()


if __name__ == "__main__":
    warm.leave(main())
