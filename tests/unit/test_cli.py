"""How verbs end: quietly where nobody reads on, in one sentence where their output finds no room."""

import sys

import pytest

# Runs verbs one after the other, with a standard output that nobody reads or that is full.
VERBS = """
import os, sys
from nmtprune import cli
_, kind, *verbs = sys.argv
for verb in verbs:
    if kind == "closed":
        end, output = os.pipe()
        os.close(end)
    else:
        output = os.open("/dev/full", os.O_WRONLY)
    os.dup2(output, 1)
    sys.stdout, sys.argv[:] = open(1, "w", closefd=False), ["nmtprune", *verb.split()]
    status = cli.main()
    sys.stdout.flush()
    print(f"{verb} ended with {status}", file=sys.stderr)
"""
PRINTING = ("config", "docs", "status", "du", "free", "plan --cores 1", "render")


@pytest.mark.parametrize(
    ("output", "status", "said"), [("closed", 141, []), ("full", 1, ["nmtprune: what this command prints: No space left"])]
)
def test_verbs_end_with_their_output(workplace, output, status, said):
    workplace.configure(papers=["wang2020/table2"])
    done = workplace.run(sys.executable, "-c", VERBS, output, *PRINTING)
    lines = done.stderr.splitlines()
    assert [line for line in lines if "ended with" in line] == [f"{verb} ended with {status}" for verb in PRINTING], done.stderr
    others = [line for line in lines if "ended with" not in line]
    assert len(others) == len(said) * len(PRINTING) and all(line.startswith(tuple(said)) for line in others)
