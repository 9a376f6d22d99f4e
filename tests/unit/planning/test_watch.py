"""The bars of `status --watch`: what they count and what they show."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from nmtprune.cli import verbs
from nmtprune.experiment import chain as chains
from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_json
from nmtprune.planning import watch
from nmtprune.planning.jobs import Jobs
from nmtprune.planning.watch import RunningTraining, WholeRun
from nmtprune.store.state import this_machine

ROOT = "toy/toy/s1/train"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain = f"{ROOT}/prune-local-50/retrain"
    return configuration.from_settings({"papers": [], "chains": [chain], "controls": False})


def report_progress(age=0.0, **values):
    progress = {"update": 150, "updates": 600, "seconds_left": 90.0, "time": time.time() - age}
    file = paths.state(paths.model(chains.parse(ROOT))) / paths.PROGRESS
    write_json(file, {**progress, "machine": "another", **values})


def text_of(renderable):
    console = Console(file=io.StringIO(), width=160)
    console.print(renderable)
    return " ".join(console.file.getvalue().split())


def test_a_training_that_reports_has_a_bar_with_updates_loss_speed_and_time(config):
    report_progress(loss=2.5, words_per_second=4321.0)
    (training,) = watch.running(Jobs(Run(config)))
    assert training == RunningTraining(chains.parse(ROOT), 150, 600, 2.5, 4321.0, 90.0)
    said = text_of(watch.drawn(WholeRun(0.1, 1, 6, None, 0), [training]))
    assert "150 of 600 updates loss 2.500 4,321 words/s 2 min left" in said and ROOT in said


def test_just_after_a_validation_loss_and_speed_are_left_out(config):
    report_progress(loss=None, words_per_second=None)
    said = text_of(watch.drawn(WholeRun(0.1, 1, 6, None, 0), watch.running(Jobs(Run(config)))))
    assert "150 of 600 updates 2 min left" in said and "loss" not in said


@pytest.mark.parametrize("values", [{"age": 3600.0}, {"machine": this_machine()}])
def test_a_training_whose_process_is_gone_has_no_bar(config, values):
    report_progress(**values)
    assert watch.running(Jobs(Run(config))) == []
    assert "no training reports progress" in text_of(watch.drawn(WholeRun(0, 0, 6, None, 0), []))


def test_without_any_estimate_the_whole_run_counts_jobs(config):
    run = watch.whole(Jobs(Run(config)), [])
    assert run == WholeRun(0.0, 0, len(Jobs(Run(config))), None, len(Jobs(Run(config)))) and not run.is_done
    assert f"0% of the jobs 0 of {run.jobs} jobs" in text_of(watch.drawn(run, []))


def test_the_whole_run_counts_estimated_time_and_the_done_part_of_a_training(config, monkeypatch):
    jobs = Jobs(Run(config))
    root = jobs.model(chains.parse(ROOT))
    seconds = {file: 300.0 if file == root else 100.0 for file in jobs}

    class Known:
        def __init__(self, config):
            pass

        def cost(self, job):
            return watch.Cost(seconds[job.makes], False) if job.rule != "text" else None

    monkeypatch.setattr(watch, "Estimates", Known)
    report_progress()
    run = watch.whole(jobs, watch.running(jobs))
    total = sum(seconds.values()) - 100.0
    assert run.seconds_left == pytest.approx(total - 300.0 * 150 / 600) and run.unknown == 1
    assert run.share == pytest.approx(75.0 / total)
    assert (
        "of the estimated time" in (said := text_of(watch.drawn(run, [])))
        and "without an estimate: 1" in said
    )


def test_watching_ends_with_the_run_or_when_the_user_stops(config, monkeypatch):
    states = [WholeRun(0.5, 3, 6, None, 0), WholeRun(1.0, 6, 6, None, 0)]
    monkeypatch.setattr(watch, "whole", lambda *_: states.pop(0))
    waits = []
    watch.watch(Jobs(Run(config)), 3.0, Console(file=io.StringIO()), waits.append)
    assert waits == [3.0] and states == []

    def stop(seconds):
        raise KeyboardInterrupt

    states.append(WholeRun(0.5, 3, 6, None, 0))
    watch.watch(Jobs(Run(config)), 3.0, Console(file=io.StringIO()), stop)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9])
def test_a_wait_that_cannot_be_is_refused(config, seconds):
    arguments = verbs._parser().parse_args(["status", "--watch", str(seconds)])
    with pytest.raises(
        UserError, match=r"status --watch: .* is not a number of seconds above 0 and at most 3600"
    ):
        verbs.show_status(config, arguments)
