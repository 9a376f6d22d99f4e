"""Jobs in forks of the warm process behave like separate processes, and can be killed like them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.workplace import PATIENCE, Workplace

from nmtprune.runtime import fork_server
from nmtprune.store import checkpoints

TRAIN = "micro/micro/s1/train"

OWNER = """
import sys, time
from nmtprune.runtime import fork_server as warm
pid = warm.start('nmtprune.cli.preload')
import os
print(os.environ[warm.ADDRESS], pid, flush=True)
time.sleep(3600)
"""
# A verb that shows what it sees, sleeps and fails, in the place of nmtprune's own.
JOB = """
import os, sys, time
def main():
    print(os.getpid(), os.getcwd(), os.environ["WORD"], sys.argv[1:], "torch" in sys.modules, flush=True)
    time.sleep(float(sys.argv[1]))
    return int(sys.argv[2])
"""


def alive(pid):
    """Whether a process runs (one that has ended and is not yet waited for does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or between that and reading it
        return False


def until(condition, seconds=PATIENCE):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.02)


class Warm:
    """An owner with its warm process, and jobs that ask for it."""

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "WORD": "of the job"}
        (folder / "job.py").write_text(JOB)
        self.owner = self.python(OWNER)
        address, pid = self.owner.stdout.readline().split()
        self.pid, self.address = int(pid), Path(address)
        self.environment |= {fork_server.ADDRESS: address, fork_server.SERVED: fork_server.own_environment()}
        until(lambda: self.address.exists() or self.owner.poll() is not None)

    def python(self, code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, **streams)

    def job(self, seconds, status):
        return self.python(
            "import sys; from nmtprune.runtime import fork_server as warm; sys.exit(warm.run_there(sys.argv, "
            "'nmtprune.cli.verbs'))",
            seconds,
            status,
        )


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A warm process whose jobs are JOB."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, types\n"
        "class Finder:\n"
        "    @staticmethod\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'nmtprune.cli.verbs':\n"
        "            import importlib.util\n"
        "            return importlib.util.spec_from_file_location(name, sys.path_of_job)\n"
        f"sys.path_of_job = {str(tmp_path / 'job.py')!r}\n"
        "sys.meta_path.insert(0, Finder)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    found = Warm(tmp_path)
    yield found
    found.owner.kill()
    found.owner.wait()


def test_a_job_has_its_own_arguments_environment_directory_streams_and_status(process):
    jobs = [process.job(0, status) for status in (0, 3)]
    for job, status in zip(jobs, (0, 3), strict=True):
        out, err = job.communicate(timeout=PATIENCE)
        pid, rest = out.split(" ", 1)
        assert rest == f"{process.folder} of the job ['0', '{status}'] True\n" and not err
        assert job.returncode == status and int(pid) not in (job.pid, process.pid)


def test_a_temporary_folder_of_a_long_name(tmp_path, monkeypatch):
    """The address of a socket has at most 108 bytes."""
    long = tmp_path / ("x" * 60) / ("y" * 60)
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    started = Warm(tmp_path)
    try:
        assert started.address.exists() and len(str(started.address)) < 104
    finally:
        started.owner.kill()
        started.owner.wait()


def test_a_killed_job_kills_its_fork_and_nothing_else(process):
    killed, other = process.job(3600, 0), process.job(3600, 0)
    fork, beside = (int(job.stdout.readline().split()[0]) for job in (killed, other))
    killed.kill()
    until(lambda: not alive(fork))
    assert alive(beside) and alive(process.pid)
    os.kill(beside, signal.SIGKILL)
    assert other.wait(timeout=PATIENCE) == 128 + signal.SIGKILL
    assert process.job(0, 0).wait(timeout=PATIENCE) == 0


def test_all_ends_with_the_owner_however_it_ends(process):
    job = process.job(3600, 0)
    fork = int(job.stdout.readline().split()[0])
    process.owner.kill()
    until(lambda: not alive(fork) and not alive(process.pid))
    assert job.wait(timeout=PATIENCE) == 128 + signal.SIGKILL
    assert not process.address.parent.exists()


def test_without_the_warm_process_jobs_say_so_and_later_ones_do_without(process):
    job = process.job(3600, 0)
    fork = int(job.stdout.readline().split()[0])
    os.kill(process.pid, signal.SIGKILL)
    assert job.wait(timeout=PATIENCE) == 128 + signal.SIGKILL
    assert "the process that runs the jobs was killed" in job.stderr.read()
    until(lambda: not alive(fork))
    assert (
        process.python(
            "from nmtprune.runtime import fork_server as warm; print(warm.run_there(['x'], "
            "'nmtprune.cli.verbs'))"
        ).communicate()[0]
        == "None\n"
    )


def test_the_warm_process_has_one_thread(process):
    """Others would not live on in its forks, and their locks would."""
    assert len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1


@pytest.mark.parametrize(
    "difference",
    ["sys.prefix = '/another/environment'", "sys.executable = '/bin/another'", "sys.version = '3.99'"],
)
def test_a_job_of_another_environment_is_not_handed_over(process, difference):
    """As one under `--sdm conda`, whose packages are those of its own environment."""
    asked = "print(fork_server.run_there(['x', '0', '3'], 'nmtprune.cli.verbs'))"
    job = process.python(f"import sys; {difference}; from nmtprune.runtime import fork_server; {asked}")
    assert job.communicate()[0] == "None\n"


def test_a_job_of_another_copy_of_the_package_is_not_handed_over(process):
    shutil.copytree(
        Path(fork_server.__file__).parents[1],
        process.folder / "other" / "nmtprune",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    process.environment["PYTHONPATH"] = str(process.folder / "other")
    assert (
        process.python(
            "from nmtprune.runtime import fork_server as warm; print(warm.run_there(['x', '0', '3'], "
            "'nmtprune.cli.verbs'))"
        ).communicate()[0]
        == "None\n"
    )


def test_jobs_of_several_threads_do_without(process):
    process.environment["OMP_NUM_THREADS"] = "2"
    assert (
        process.python(
            "from nmtprune.runtime import fork_server as warm; print(warm.run_there(['x'], "
            "'nmtprune.cli.verbs'))"
        ).communicate()[0]
        == "None\n"
    )


def test_a_model_of_a_warm_process_is_that_of_a_cold_one(workplace, studio, tmp_path):
    """To the bit, and what a job says of a mistake is said."""
    cold = Workplace(tmp_path / "cold")
    for place in (workplace, cold):
        shutil.copytree(studio / "results" / "data", place / "results" / "data")
    found = Warm(tmp_path)
    try:
        for place, environment in (
            (workplace, found.environment),
            (cold, os.environ | {"OMP_NUM_THREADS": "1"}),
        ):
            for chain, status in ((TRAIN, 0), (f"{TRAIN}/prune-local-50", 0), ("micro/nothing/s1/train", 2)):
                command = [sys.executable, "-m", "nmtprune", "run", chain, "--cost", "results/logs/it.log"]
                done = subprocess.run(
                    command, cwd=place.folder, env=environment, capture_output=True, text=True
                )
                assert done.returncode == status, done.stderr
            assert "recipe `nothing`" in done.stderr
            assert (place / "results/costs/it.json").exists()
    finally:
        found.owner.kill()
        found.owner.wait()
    ours, theirs = (checkpoints.read(place.model(TRAIN) / "model.pt")["model"] for place in (workplace, cold))
    named = [name for name in ours if "_float_tensor" not in name]  # fairseq's, which nobody fills
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in named)
    ours, theirs = (
        checkpoints.read_masks(place.model(f"{TRAIN}/prune-local-50") / "mask.pt")
        for place in (workplace, cold)
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
