"""Plans know the jobs of a run without Snakemake, and the jobs are the same."""

from __future__ import annotations

import json
import resource
import time

import pytest
from support.dry_runs import dry_run, finish
from support.workplace import MICRO, Workplace

from nmtprune.experiment import paths, slices
from nmtprune.experiment.run import Run
from nmtprune.planning.jobs import Jobs, counts


def planned(workplace):
    with workplace.inside():
        return dict(counts(Jobs(Run(workplace.config)).to_do()))


def by_snakemake(workplace):
    """Those of the dry run; pages and the target itself are no jobs of a plan."""
    return {
        rule: number for rule, number in dry_run(workplace).items() if rule not in ("all", "pages", "total")
    }


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("toy", {}),
        ("multi30k", {}),
        ("paper", {}),
        ("micro", {}),
        ("micro-papers", {}),
        ("micro-papers", {"shards": 3}),
    ],
)
def test_the_jobs_planned_are_those_of_a_dry_run(workplace, preset, settings):
    workplace.configure(preset=preset, own=str(MICRO), **settings)
    assert planned(workplace) == by_snakemake(workplace)


def test_own_chains_are_planned_with_what_they_need(workplace):
    workplace.configure(
        papers=[],
        chains=[
            "micro-distilled/micro/s1/train/prune-global-40",
            "micro/micro-lstm/s2/train/prune-layer-50/retrain",
        ],
    )
    assert planned(workplace) == by_snakemake(workplace)


def test_what_is_there_is_not_planned_and_what_is_missing_behind_it_is_not_missed(tmp_path):
    workplace = Workplace(tmp_path / "workplace")
    finish(workplace, papers=["wang2020/table2"])
    with workplace.inside():
        config = workplace.config
        for job in Jobs(Run(config)).values():
            if job.does == "step":
                for chain in job.chain.of_its_job():
                    paths.manifest(chain).write_text(json.dumps({"slice": slices.of_step(config, chain)}))
    done = workplace.snakemake("--cores", "1", "--touch", "--forceall")
    assert done.returncode == 0, done.stderr[-3000:]
    assert planned(workplace) == {} == by_snakemake(workplace)
    for behind in ("train/prune-local-50", "train/prune-local-50/retrain"):
        workplace.model(f"micro/micro/s1/{behind}/manifest.json").unlink()
    assert planned(workplace) == {} == by_snakemake(workplace)
    time.sleep(0.02)
    workplace.model("micro/micro/s1/train/scores.csv").unlink()
    (
        workplace / "results/micro/complete"
    ).unlink()  # beside a complete page Snakemake would not miss the scores
    assert planned(workplace) == {"score": 1} == by_snakemake(workplace)


def test_a_plan_of_the_papers_is_quick(workplace):
    workplace.configure(preset="paper", own=None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = workplace.nmtprune("plan", "--preset", "paper")
    assert done.returncode == 0 and "wang2020/table2" in done.stdout, done.stderr[-2000:]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 10
