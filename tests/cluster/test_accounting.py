"""A Slurm with accounting that forgets ended jobs at once.

Account, partitions and kind of GPU are named in the profile.
"""

import subprocess

import pytest
from support.slurm import PROFILE, ClusterWorkplace, slurm

TRAIN, DAMAGED = "micro/micro/s1/train", "micro/micro/s3/train"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm"), "--accounting", MIN_JOB_AGE="2"):
        yield


@pytest.fixture
def profile(tmp_path):
    """The shipped profile with its three lines for a cluster uncommented."""
    text = (PROFILE / "config.yaml").read_text()
    for line in ('slurm_account: "science"', 'slurm_partition: "cpu,gpu"', 'gpu_model: "a100"'):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    (tmp_path / "config.yaml").write_text(text)
    return tmp_path


def recorded(chain):
    """What accounting says of the job of a chain's last step."""
    fields = ("State", "Account", "Partition", "ReqTRES", "Comment")
    command = ["sacct", "-X", "--noheader", "--parsable2", f"--format={','.join(fields)}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    rows = [dict(zip(fields, line.split("|"), strict=True)) for line in lines]
    (found,) = (row for row in rows if row["Comment"].endswith("_wildcards_" + chain.replace("/", "_")))
    return found


def test_account_partitions_and_gpus_are_asked_for_and_reasons_told(cluster, bench, profile):
    pruned, trained, failing = f"{TRAIN}/prune-local-50", "micro/micro/s2/train", f"{DAMAGED}/prune-local-50"
    workplace = ClusterWorkplace(bench(TRAIN, DAMAGED).folder)
    workplace.profile = profile
    (workplace.model(DAMAGED) / "model.pt").write_bytes(b"damaged")
    targets = [f"results/models/{chain}/manifest.json" for chain in (pruned, trained, failing)]
    done = workplace.snakemake(*targets, "--retries", "0", "--set-resources", "train:gpu=1")
    assert done.returncode != 0
    assert "SLURM status is: 'FAILED'. Reason" in done.stderr
    on_cpu, on_gpu = recorded(pruned), recorded(trained)
    assert [row["State"] for row in (on_cpu, on_gpu, recorded(failing))] == [
        "COMPLETED",
        "COMPLETED",
        "FAILED",
    ], done.stderr[-5000:]
    assert on_cpu["Account"] == on_gpu["Account"] == "science"
    assert (on_cpu["Partition"], on_gpu["Partition"]) == ("cpu", "gpu")
    assert "gres/gpu" not in on_cpu["ReqTRES"] and "gres/gpu:a100=1" in on_gpu["ReqTRES"]
