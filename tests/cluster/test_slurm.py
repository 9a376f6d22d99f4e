"""The workflow on a real Slurm without accounting, with the shipped profile."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.slurm import ClusterWorkplace, jobs_of, slurm, wait_for_job
from support.workplace import PATIENCE, REPOSITORY, Workplace

from nmtprune.experiment import paths
from nmtprune.store import state as store

GRID = {"preset": "micro-papers", "papers": ["wang2020/figure1"]}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")):
        yield


def test_a_job_for_each_step_and_one_job_for_all_give_the_tables_of_a_local_run(cluster, studio, tmp_path):
    local, each, whole = (
        Workplace(tmp_path / "local", **GRID),
        ClusterWorkplace(tmp_path / "each", **GRID),
        Workplace(tmp_path / "whole", **GRID),
    )
    for workplace in (local, each, whole):
        shutil.copytree(studio / "results" / "data", workplace / "results" / "data")
    (whole / ".venv").symlink_to(Path(sys.prefix))
    on_a_node = (
        "sbatch",
        "--wait",
        REPOSITORY / "profiles/slurm/node.sh",
        "--snakefile",
        REPOSITORY / "Snakefile",
    )
    for done in (local.snakemake("--cores", "2"), each.snakemake(), whole.run(*on_a_node)):
        assert done.returncode == 0, done.stderr[-5000:]
    tables = sorted((local / "results/micro-papers").rglob("*.csv"))
    hypotheses = sorted((local / "results/models").rglob("hypotheses/*.txt"))
    assert tables and hypotheses
    for file in (path.relative_to(local.folder) for path in tables + hypotheses):
        assert (each / file).read_bytes() == (whole / file).read_bytes() == (local / file).read_bytes(), file


def test_jobs_fail_run_out_of_time_and_are_cancelled(cluster, bench):
    """One job cannot read its model, one is held up until its minute is over, one is cancelled.

    Only the one that is held up has so little time: all else may take as long as a busy machine needs.
    """
    healthy, damaged = "micro/micro/s1/train", "micro/micro/s2/train"
    late, cancelled, failing = (
        f"{healthy}/prune-local-20",
        f"{healthy}/prune-local-50",
        f"{damaged}/prune-local-50",
    )
    workplace = ClusterWorkplace(bench(healthy, damaged).folder)
    model = workplace.model(damaged) / "model.pt"
    whole, times = model.read_bytes(), (model.stat().st_atime_ns, model.stat().st_mtime_ns)
    model.write_bytes(b"damaged")
    os.utime(model, ns=times)

    targets = [f"results/models/{chain}/manifest.json" for chain in (late, cancelled, failing)]
    runtime = "1 if wildcards.step.endswith('prune-local-20') and attempt == 1 else 20 * attempt"
    command = workplace.snakemake_command(
        *targets, "--retries", "1", "--set-resources", f"prune:runtime={runtime}"
    )
    process = workplace.start(*command)
    with store.lock(paths.state(workplace.model(late))):
        with store.lock(paths.state(workplace.model(cancelled))):
            subprocess.run(["scancel", wait_for_job(cancelled, "RUNNING", process)], check=True)
        wait_for_job(late, "TIMEOUT", process)
    _, said = process.communicate(timeout=6 * PATIENCE)

    assert process.returncode != 0
    assert states(late) == [("TIMEOUT", "00:01:00"), ("COMPLETED", "00:40:00")]
    assert states(cancelled) == [("CANCELLED", "00:20:00"), ("COMPLETED", "00:40:00")]
    assert states(failing) == [("FAILED", "00:20:00"), ("FAILED", "00:40:00")]
    assert all((workplace.model(chain) / "manifest.json").exists() for chain in (late, cancelled))
    assert (
        "SLURM status is: 'FAILED'" in said
        and "SLURM status is: 'TIMEOUT'" in said
        and "SLURM status is: 'CANCELLED'" in said
    )
    assert "model.pt" in said.split("Logfile", 1)[1]  # of the step: which file could not be read

    model.write_bytes(whole)
    os.utime(model, ns=times)
    again = workplace.run(*command)
    assert again.returncode == 0, again.stderr[-5000:]
    assert [state for state, _ in states(failing)] == ["FAILED", "FAILED", "COMPLETED"]
    assert len(states(late)) == len(states(cancelled)) == 2


def states(chain):
    """How the jobs of a chain's last step ended, one after the other, and the time that each had."""
    return [(job["JobState"], job["TimeLimit"]) for job in jobs_of(chain)]
