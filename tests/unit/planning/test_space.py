"""Space of files, which of them can be removed, and the cost of a run: arithmetic on files and jobs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.jobs import job_of, record

from nmtprune.experiment import chain as chains
from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths, slices
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json, write_text
from nmtprune.planning.disk_usage import Sizes, human, usage
from nmtprune.planning.estimates import Cost, Estimates
from nmtprune.planning.freeing import check_weights, free, missing, weights_read
from nmtprune.planning.jobs import Job, Jobs
from nmtprune.planning.plan import at_least, in_hours, together

ROOT = "toy/toy/s1/train"
PRUNED, RETRAINED = f"{ROOT}/prune-local-50", f"{ROOT}/prune-local-50/retrain"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return configuration.from_settings({"papers": [], "chains": [RETRAINED], "device": "cpu"})


def make(config, address: str) -> Path:
    """A finished model of the settings that hold now, its files in both their places."""
    chain = chains.parse(address)
    directory = paths.model(chain)
    names = (
        ("mask.pt",)
        if chain.last.kind.selects
        else ("model.pt", "last.pt", *(("initial.pt",) if not chain.parent else ()))
    )
    for name in names:
        write_text(directory / "state" / "outputs" / name, name * 1000)
        os.link(directory / "state" / "outputs" / name, directory / name)
    write_json(paths.manifest(chain), {"slice": slices.of_step(config, chain)})
    return directory


def finish(config) -> None:
    for file, job in Jobs(Run(config)).items():
        if job.does == "step":
            for chain in job.chain.of_its_job():
                make(config, str(chain))
        else:
            write_json(file, {"counts": {}})


@pytest.mark.parametrize(
    ("address", "does", "files"),
    [
        (ROOT, "step", []),
        (f"{ROOT}/at-33", "step", ["train/snapshots/33.pt"]),
        (f"{ROOT}/at-0", "step", ["train/initial.pt"]),
        (PRUNED, "step", ["train/model.pt"]),
        (RETRAINED, "step", ["train/model.pt"]),
        (
            f"{RETRAINED}/rejuvenate-external",
            "step",
            ["train/model.pt", "train/prune-local-50/retrain/model.pt"],
        ),
        (f"{PRUNED}/restart-ticket", "step", ["train/initial.pt", "train/model.pt"]),
        (f"{ROOT}/lasso-ffn-both-8/slice", "step", ["train/lasso-ffn-both-8/last.pt"]),
        (f"{ROOT}/int8-onnx/finetune", "step", ["train/model.pt"]),
        (f"{ROOT}/rewind-2", "step", ["train/initial.pt", "train/model.pt"]),
        (RETRAINED, "score", ["train/prune-local-50/retrain/model.pt"]),
        (ROOT, "criticality", ["train/initial.pt", "train/model.pt"]),
    ],
)
def test_the_weights_that_a_job_reads(address, does, files):
    found = weights_read(job_of(address, does))
    assert sorted(str(file.relative_to(paths.MODELS / "toy/toy/s1")) for file in found) == files


def test_hard_links_are_counted_once_and_state_apart(config):
    directory = make(config, ROOT)
    write_text(directory / "state" / "kept" / "a" / "model.pt", "x" * 5000)
    found = usage()
    outputs = sum(
        (directory / name).stat().st_blocks * 512
        for name in ("model.pt", "last.pt", "initial.pt", "manifest.json")
    )
    assert (found[directory].outputs, found[directory].state) == (
        outputs,
        (directory / "state/kept/a/model.pt").stat().st_blocks * 512,
    )


def test_what_a_later_job_reads_stays_until_it_is_done(config):
    finish(config)
    scores = paths.scores(chains.parse(RETRAINED))
    scores.unlink()
    free(Run(config), do=True, scored_too=True)
    assert (paths.model(chains.parse(RETRAINED)) / "model.pt").exists()
    assert not (paths.model(chains.parse(ROOT)) / "model.pt").exists()
    write_text(scores, "chain\n")
    assert missing(Jobs(Run(config))) == []
    free(Run(config), do=True)
    assert (paths.model(chains.parse(RETRAINED)) / "model.pt").exists()
    free(Run(config), do=True, scored_too=True)
    assert not (paths.model(chains.parse(RETRAINED)) / "model.pt").exists()
    assert (paths.model(chains.parse(PRUNED)) / "mask.pt").exists()
    assert Jobs(Run(config)).to_do() == []


def test_a_mask_belongs_to_the_job_of_what_trains_under_it(config):
    finish(config)
    kept = paths.model(chains.parse(PRUNED)) / "state" / "kept" / "another" / "mask.pt"
    write_text(kept, "mask")
    job = Jobs(Run(config))[paths.manifest(chains.parse(RETRAINED))]
    assert job.folders == {paths.model(chains.parse(each)) for each in (PRUNED, RETRAINED)}
    free(Run(config), do=True)
    assert not kept.exists() and (paths.model(chains.parse(PRUNED)) / "mask.pt").exists()


def test_freed_weights_that_are_needed_are_named_with_those_they_are_made_from(config):
    finish(config)
    free(Run(config), do=True, scored_too=True)
    more = configuration.from_settings(
        {**config.settings, "chains": [RETRAINED, f"{RETRAINED}/prune-local-60/retrain"]}
    )
    assert list(map(str, missing(Jobs(Run(more))))) == [ROOT, RETRAINED]
    with pytest.raises(
        UserError, match=r"2 models, toy/toy/s1/train the first of them, which were freed; .* restore"
    ):
        check_weights(Jobs(Run(more)))


@given(st.floats(0, 1e15))
def test_sizes_are_of_three_digits_at_most_below_a_thousand_terabytes(size):
    number, unit = human(size).split()
    factor = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * factor == pytest.approx(size, rel=0.06, abs=0.51)


def test_parameters_are_those_of_fairseqs_models():
    run = configuration.from_settings({})
    for recipe, built in (
        ("base", 105_584_640),
        ("big", 299_249_664),
        ("lightconv", 298_205_360),
        ("lstm", 216_012_000),
        ("rnnsearch", 191_116_004),
        ("student-12-1-heads4", 20_297_344),
        ("student-6-2tied", 15_691_776),
        ("toy-student-2-2", 216_192),
    ):
        whole = run.recipe(recipe)
        types = whole.subwords["size"] + 4
        assert whole.architecture.parameter_count((types, types)) == pytest.approx(built, rel=0.02)


def test_a_training_leaves_its_checkpoints_and_a_mask_a_bit_a_weight(config):
    sizes = Sizes(config)
    whole = sizes.weights(chains.parse(ROOT))
    assert sizes.left_by(job_of(ROOT)) == 6 * whole  # selected, last, first, three snapshots
    assert sizes.left_by(job_of(PRUNED)) == whole // 32
    assert sizes.left_by(job_of(RETRAINED)) == 5 * whole + whole // 32  # and the mask that it trains under
    assert sizes.left_by(job_of(f"{ROOT}/at-33")) == 0
    assert (
        sizes.while_running(job_of(ROOT)) == 6 * whole
    )  # weights and two moments, once more while they are replaced
    text = Job("text", "text", Path("text"), Path("log"), "toy")
    assert sizes.needed([text, job_of(ROOT)]).unknown == (text,)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.integers(1, 8))
def test_no_order_of_jobs_is_quicker_than_the_longest_row_or_the_work_shared_out(seconds, cores):
    files = [Path(str(number)) for number in range(len(seconds))]
    in_a_row = {file: job_of(ROOT, needs=tuple(files[:number][-1:])) for number, file in enumerate(files)}
    beside = {file: job_of(ROOT) for file in files}
    costs = {file: Cost(taken, gpu=False) for file, taken in zip(files, seconds, strict=True)}
    assert at_least(in_a_row, costs, cores, 1) == pytest.approx(sum(seconds))
    assert at_least(beside, costs, cores, 1) == pytest.approx(max(sum(seconds) / cores, max(seconds)))


def test_speed_is_measured_alone_and_gpus_are_counted_apart():
    files = [Path("a"), Path("b"), Path("c")]
    jobs = {files[0]: job_of(ROOT, rule="speed"), files[1]: job_of(ROOT), files[2]: job_of(ROOT)}
    costs = {files[0]: Cost(10, gpu=False), files[1]: Cost(8, gpu=False), files[2]: None}
    assert at_least(jobs, costs, 4, 1) == 12
    assert (together(costs.values()).cpu, together(costs.values()).unknown) == (18, 1)
    assert together([Cost(7200, gpu=True), None]).hours() == ("0 s+", "2 h 00 min+")
    assert together([None]).hours() == ("unknown", "unknown")
    assert in_hours(360_000_000) == "100,000 h"


def test_a_training_costs_what_one_like_it_has_cost_an_update(config):
    record("toy/toy/s2/train", 250, seconds=20.0, cpu=10.0)
    estimates = Estimates(config)
    updates = config.schedule("toy", "train").updates
    assert estimates.cost(job_of(ROOT, rule="train")) == Cost(pytest.approx(10.0 * updates / 250), gpu=False)
    retrained = estimates.cost(
        job_of(RETRAINED, rule="retrain")
    )  # none like it: by any training of its recipe
    assert retrained.seconds == pytest.approx(10.0 * config.schedule("toy", "retrain").updates / 250)
    assert estimates.cost(job_of("toy/toy-lstm/s1/train", rule="train")) is None


def test_a_job_that_waited_for_another_process_says_nothing_of_the_cost(config):
    record("toy/toy/s2/train", 600, seconds=440.0, cpu=0.04)
    assert Estimates(config).cost(job_of(ROOT, rule="train")) is None


def test_a_training_that_was_stopped_costs_all_its_parts(config):
    record("toy/toy/s2/train", config.schedule("toy", "train").updates, seconds=20.0, cpu=18.0, wall=100.0)
    assert Estimates(config).cost(job_of(ROOT, rule="train")).seconds == pytest.approx(90.0)
