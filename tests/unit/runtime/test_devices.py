"""GPUs that jobs lease, and numbers of workers; no GPU is needed, since devices are names here."""

import contextlib
import os
import subprocess
import sys

import pytest

from nmtprune.experiment import chain
from nmtprune.foundation.errors import UserError
from nmtprune.runtime import devices as launch

HOLDER = """
import sys
from pathlib import Path
from nmtprune.runtime import devices as launch
import os
with launch.leased(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[1])):
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    if len(sys.argv) > 4:
        os.execvp("cat", ["cat"])  # a program that ends with its input
    sys.stdin.read()
"""


class Jobs:
    """Jobs that hold GPUs until they are told to end."""

    def __init__(self, folder, visible):
        self.folder, self.started = folder, []
        self.environment = os.environ | {launch.VISIBLE: visible}

    def start(self, gpus, jobs_per_gpu, *more):
        command = [sys.executable, "-c", HOLDER, *map(str, (self.folder, gpus, jobs_per_gpu, *more))]
        job = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.started.append(job)
        return job


@pytest.mark.parametrize(
    ("visible", "devices"), [("3", ["3"]), ("0,1", ["0", "1"]), ("", []), ("-1", []), ("2,-1,0", ["2"])]
)
def test_the_visible_devices_say_whether_there_is_a_gpu(monkeypatch, visible, devices):
    """A container that is given the fourth GPU alone has one; `-1` hides all that come after it."""
    monkeypatch.setenv(launch.VISIBLE, visible)
    assert launch.devices() == devices
    assert [launch.on_gpu(device) for device in ("auto", "cuda", "cpu")] == [bool(devices), True, False]


@pytest.fixture
def jobs(tmp_path):
    made = []

    def on(visible):
        made.append(Jobs(tmp_path, visible))
        return made[-1]

    yield on
    for job in (job for each in made for job in each.started):
        job.kill()
        job.wait()


def said(job):
    return job.stdout.readline().strip()


def test_each_job_has_a_gpu_of_its_own_and_the_next_one_waits(jobs):
    here = jobs("3,5")
    first, second = here.start(1, 1), here.start(1, 1)
    assert {said(first), said(second)} == {"3", "5"}
    third = here.start(1, 1)
    assert said(third) == "all of the 2 GPUs are taken (1 jobs each); waiting"
    first.kill()
    assert said(third) in ("3", "5")


def test_small_jobs_share_gpus_and_first_take_free_ones(jobs):
    here = jobs("0,1")
    taken = [said(here.start(1, 2)) for _ in range(4)]
    assert sorted(taken[:2]) == ["0", "1"] and sorted(taken) == ["0", "0", "1", "1"]
    assert said(here.start(1, 2)).endswith("waiting")


def test_workers_have_gpus_of_their_own_and_a_launcher_keeps_them(jobs):
    here = jobs("0,1,2")
    launcher = here.start(2, 1, "becomes another program")
    assert said(launcher) == "0,1"
    assert said(here.start(1, 1)) == "2"
    waiting = here.start(1, 1)
    assert said(waiting).endswith("waiting")
    launcher.stdin.close()
    assert said(waiting) == "0"


def test_more_workers_than_gpus_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(launch.VISIBLE, "0,1")
    with (
        pytest.raises(UserError, match="workers: `3` is more than the number of GPUs here; valid: 1 to 2"),
        launch.leased(3, 1, tmp_path),
    ):
        pass


@pytest.mark.parametrize(("setting", "value"), [("RANK", "1"), (launch.VISIBLE, "")])
def test_nothing_is_taken_by_workers_and_where_there_is_nothing(tmp_path, monkeypatch, setting, value):
    monkeypatch.setenv(launch.VISIBLE, "0")
    monkeypatch.setenv(setting, value)
    with launch.leased(1, 1, tmp_path):
        assert os.environ[launch.VISIBLE] == ("" if setting == launch.VISIBLE else "0")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("nodes", "workers", "steps", "expected"),
    [
        (1, 1, "train", (1, 1)),
        (1, 2, "train", (1, 1)),
        (1, 2, "train-accumulated", (1, 2)),
        (1, 4, "train-accumulated", (1, 2)),
        (2, 1, "train-accumulated", (2, 1)),
        (2, 2, "train-accumulated", (1, 2)),
        (1, 2, "train/prune-local-50", (1, 1)),
    ],
)
def test_workers_are_as_many_as_share_out_an_update(workplace, nodes, workers, steps, expected):
    workplace.configure(nodes=nodes, workers=workers)
    assert workplace.config.workers(chain.parse(f"micro/micro/s1/{steps}")) == expected


def test_several_nodes_meet_at_the_first(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NODELIST", "node[7-8]")
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    named = subprocess.CompletedProcess([], 0, stdout="node7\nnode8\n")
    monkeypatch.setattr(launch.subprocess, "run", lambda *arguments, **options: named)
    command = launch._launcher(4, 2, ["run", "chain"])
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert {"--nproc-per-node=4", "--nnodes=2", "--rdzv-endpoint=node7:29400", "--rdzv-id=42"} <= set(command)
    assert command[-4:] == ["-m", "nmtprune", "run", "chain"]


def test_several_nodes_need_slurm():
    with pytest.raises(UserError, match="nodes: `2` needs Slurm"):
        launch.check(2, 1)


def test_the_lease_ends_with_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv(launch.VISIBLE, "0")
    with contextlib.suppress(KeyError), launch.leased(1, 1, tmp_path):
        raise KeyError
    with launch.leased(1, 1, tmp_path):
        assert os.environ[launch.VISIBLE] == "0"
