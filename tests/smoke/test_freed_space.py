"""A real run whose space is freed: nothing is made again for it.

Weights that are needed again come back unchanged.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest
import torch
from support.workplace import Workplace

ROOT = "micro/micro/s1/train"
NEW = f"{ROOT}/prune-global-30/retrain"
EARLIER = f"{ROOT}/prune-local-50"  # on the way to scored models; a mask
SHOWN = ("results/micro/index.html", "results/micro/wang2020/table2.csv")


def dry_run(workplace):
    done = workplace.snakemake("-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def bytes_of(folder):
    """What the file system says, files with several names counted once and directories not at all."""
    found = subprocess.run(
        ["find", folder, "-type", "f", "-printf", "%i %b\n"], text=True, capture_output=True, check=True
    ).stdout
    return 512 * sum(dict(map(int, line.split()) for line in found.splitlines()).values())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workplace = Workplace(tmp_path_factory.mktemp("run") / "workplace")
    done = workplace.snakemake("--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return workplace


def test_a_finished_run_is_planned_to_need_nothing(run):
    said = run.nmtprune("plan").stdout
    assert "everything is there" in said


def test_usage_is_what_the_file_system_says(run):
    from nmtprune.planning.disk_usage import usage

    with run.inside():
        found = usage()
    assert sum(each.outputs + each.state for each in found.values()) == bytes_of(run / "results")
    assert found[run.model(ROOT).relative_to(run.folder)].outputs > bytes_of(run.model(ROOT) / "model.pt")
    said = run.nmtprune("du")
    assert said.returncode == 0 and "wang2020/table2" in said.stdout and "rejuvenate" in said.stdout


def test_free_says_what_would_go_and_removes_nothing_unasked(run):
    before = bytes_of(run / "results")
    said = run.nmtprune("free").stdout
    assert "Nothing is removed yet" in said and "latest checkpoints" in said
    assert bytes_of(run / "results") == before


def test_nothing_is_made_again_after_space_is_freed_and_new_chains_bring_back_what_they_need(run, tmp_path):
    workplace = Workplace(tmp_path / "workplace")
    shutil.rmtree(workplace.folder)
    subprocess.run(["cp", "-a", str(run.folder), str(workplace.folder)], check=True)
    model = workplace.model(ROOT) / "model.pt"
    weights, pages = (
        torch.load(model, weights_only=False)["model"],
        {name: (workplace / name).read_bytes() for name in SHOWN},
    )
    before = bytes_of(workplace / "results")

    assert "freed" in workplace.nmtprune("free", "--yes").stdout
    after = bytes_of(workplace / "results")
    assert model.exists() and not (workplace.model(ROOT) / "last.pt").exists() and after < before
    assert "Nothing to be done" in dry_run(workplace)

    said = workplace.nmtprune("free", "--models", "--yes").stdout
    assert not model.exists() and "scored models" in said and bytes_of(workplace / "results") < after
    assert "Nothing to be done" in dry_run(workplace)
    assert workplace.nmtprune("render").returncode == 0
    assert {name: (workplace / name).read_bytes() for name in SHOWN} == pages

    by_hand = workplace.nmtprune("export", ROOT, "folder")
    assert (
        by_hand.returncode == 2
        and f"python -m nmtprune restore {ROOT}" in by_hand.stderr
        and "Traceback" not in by_hand.stderr
    )
    workplace.configure(chains=[NEW])
    refused = workplace.snakemake("--cores", "2")
    assert (
        refused.returncode != 0
        and f"needs the weights of {ROOT}, which were freed" in refused.stdout + refused.stderr
    )
    assert "Traceback" not in refused.stdout + refused.stderr
    assert not workplace.model(NEW).exists()

    again = workplace.nmtprune("restore")
    assert again.stdout.endswith(f"made again: {ROOT}\n") and again.stdout.count("made again") == 1, (
        again.stderr[-2000:]
    )
    found = torch.load(model, weights_only=False)["model"]
    assert all(
        torch.equal(tensor, weights[name])
        for name, tensor in found.items()
        if not name.endswith("_float_tensor")
    )
    planned = dry_run(workplace)
    assert (
        "retrain" in planned
        and "rejuvenate" not in planned
        and not [line for line in planned.splitlines() if line.startswith("train ")]
    )
    done = workplace.snakemake("--cores", "2")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert (workplace.model(NEW) / "scores.csv").exists()
    assert "Nothing to be done" in dry_run(workplace)


def test_a_run_that_does_not_fit_stops_before_its_first_job_unless_told_otherwise(workplace):
    from nmtprune.experiment.run import Run
    from nmtprune.foundation.errors import UserError
    from nmtprune.planning.disk_usage import check_room
    from nmtprune.planning.jobs import Jobs

    with workplace.inside():
        with pytest.raises(
            UserError,
            match=r"will leave about .* [kM]B and need .* and 1.0 kB are free here; .*check_space=false",
        ):
            check_room(Jobs(Run(workplace.config)), free=lambda: 1000)
        check_room(Jobs(Run(workplace.config)), free=lambda: 10**12)
        workplace.configure(check_space=False)
        check_room(Jobs(Run(workplace.config)), free=lambda: 1000)
