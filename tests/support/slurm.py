"""Common parts of the tests on a real Slurm: Slurm itself, workplaces that submit to it, and its queue."""

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.workplace import PATIENCE, REPOSITORY, Workplace

CLUSTER = REPOSITORY / "tests" / "cluster"
PROFILE = REPOSITORY / "profiles" / "slurm"
IMPOSSIBLE = 3  # the script's status where a machine can have no such Slurm


class ClusterWorkplace(Workplace):
    """A workplace whose Snakemake submits to Slurm, with the shipped profile by default."""

    profile = PROFILE

    def snakemake_command(self, *arguments):
        given = ["--snakefile", str(REPOSITORY / "Snakefile"), "--workflow-profile", str(self.profile)]
        return [sys.executable, str(CLUSTER / "impatient.py"), *given, *arguments]


@contextmanager
def slurm(folder, *options, **environment):
    """A Slurm for the duration of a context, with Snakemake's plug-in on PYTHONPATH.

    Skips the tests where Slurm cannot run. A machine has one Slurm at a time, and other test processes
    wait for it.
    """
    said = folder / "slurm.txt"
    with (
        open(Path(tempfile.gettempdir()) / "nmtprune-slurm.lock", "w") as only,
        open(said, "w", encoding="utf-8") as file,
    ):
        fcntl.flock(only, fcntl.LOCK_EX)
        script = [CLUSTER / "slurm.sh", "start", *options]
        status = subprocess.run(
            script, stdout=file, stderr=file, env=os.environ | environment, timeout=PATIENCE
        ).returncode
        if status == IMPOSSIBLE:
            pytest.skip(said.read_text().strip())
        assert status == 0, said.read_text()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PYTHONPATH", str(_plugin(folder)), prepend=os.pathsep)
                yield
        finally:
            subprocess.run([CLUSTER / "slurm.sh", "stop"], check=True, timeout=PATIENCE)


def _plugin(folder):
    """Install the plug-in in a folder of its own.

    If it were installed as usual, it would ask Slurm at every start of Snakemake.
    """
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        "--no-deps",
        "--target",
        folder / "plugin",
    ]
    done = subprocess.run(
        [*install, "-r", REPOSITORY / "envs" / "requirements-slurm.txt"], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(
            f"Snakemake's plug-in for Slurm cannot be installed: {done.stderr.strip().splitlines()[-1]}"
        )
    return folder / "plugin"


def jobs_of(chain):
    """The jobs of a chain's last step in Slurm, in the order of submission, as in `scontrol show job`."""
    command = ["squeue", "--noheader", "--sort=i", "--format=%i|%k", "--states=all"]
    rows = [
        line.split("|", 1)
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    ]
    numbers = [
        number for number, comment in rows if comment.endswith("_wildcards_" + chain.replace("/", "_"))
    ]
    return [_details(number) for number in numbers]


def _details(number):
    shown = subprocess.run(
        ["scontrol", "show", "job", "-o", number], capture_output=True, text=True, check=True
    ).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


def wait_for_job(chain, state, process):
    """The number of the job of a chain's last step, once it is in this state.

    Fails if the process that submits it ends before.
    """
    while process.poll() is None:
        for job in jobs_of(chain):
            if job["JobState"] == state:
                return job["JobId"]
        time.sleep(0.5)
    raise AssertionError(f"no job of {chain} was {state}: {process.communicate()}")
