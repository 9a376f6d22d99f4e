"""Reports of `status` on a run, from the files that its steps leave."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import pytest

from nmtprune.experiment import chain as chains
from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths
from nmtprune.experiment.run import Run
from nmtprune.foundation.files import write_json, write_text
from nmtprune.planning.status import duration, status
from nmtprune.store import current, manifest
from nmtprune.store.state import is_locked, this_machine

ROOT = "toy/toy/s1/train"
PRUNED, RETRAINED = f"{ROOT}/prune-local-50", f"{ROOT}/prune-local-50/retrain"


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run of one chain of one's own, in an empty folder with nothing but its data."""
    monkeypatch.chdir(tmp_path)
    run = configuration.from_settings({"papers": [], "chains": [RETRAINED], "controls": False})
    write_json(run.data_folder(chains.parse(ROOT)) / paths.MANIFEST, {"digest": "data"})
    return run


def row(report: str, steps: str) -> str:
    """What the report says of a model: its line after the steps."""
    return next(
        line.strip().removeprefix(steps).strip()
        for line in report.splitlines()
        if line.split()[:1] == [steps]
    )


def finish(config, address: str, **facts) -> None:
    chain = chains.parse(address)
    write_json(paths.manifest(chain), {"digest": manifest.digest_of(config, chain), **facts})


def report_progress(address: str, age: float = 0.0, **values) -> None:
    state = paths.state(paths.model(chains.parse(address)))
    progress = {
        "update": 150,
        "updates": 600,
        "epoch": 2,
        "seconds": 30.0,
        "seconds_left": 90.0,
        "time": time.time() - age,
    }
    write_json(state / paths.PROGRESS, {**progress, **values})


def fail(address: str, log: str) -> None:
    write_text(paths.log(paths.model(chains.parse(address))), log)


def test_before_the_first_job_everything_waits_and_no_time_is_guessed(config):
    report = status(Run(config))
    assert [
        row(report, steps) for steps in ("train", "train/prune-local-50", "train/prune-local-50/retrain")
    ] == ["waiting"] * 3
    assert "0 of 3 models made, 0 of 2 scored" in report
    assert "time left: not known before a training has run for some seconds" in report


def test_a_running_training_shows_its_update_and_time_left(config):
    report_progress(ROOT)
    report = status(Run(config))
    assert row(report, "train") == "running      update 150 of 600, 2 min left"


def test_the_time_left_counts_waiting_trainings_at_the_speed_measured(config):
    report_progress(ROOT, seconds_left=90.0)
    updates = config.schedule("toy", "retrain").updates
    left = 90 + updates * 30.0 / 150  # 150 updates took 30 s; retraining waits for this very training
    assert f"time left: about {duration(left)} of training with 1 at a time" in status(Run(config))


def test_a_training_whose_process_is_gone_is_interrupted(config):
    report_progress(ROOT, age=3600)
    assert row(status(Run(config)), "train").startswith(
        "interrupted  after update 150 of 600; the same command continues"
    )


def test_a_training_that_was_killed_on_this_machine_is_interrupted_at_once(config):
    report_progress(ROOT, machine=this_machine())
    assert row(status(Run(config)), "train").startswith("interrupted  after update 150 of 600")


@pytest.mark.parametrize(
    ("age", "state"), [(60, "running"), (-60, "running"), (3600, "interrupted"), (-3600, "interrupted")]
)
def test_a_training_on_another_machine_is_alive_as_long_as_it_reports(config, age, state):
    report_progress(ROOT, age=age, machine="another")
    assert row(status(Run(config)), "train").startswith(state)


def test_the_run_is_headed_by_what_it_makes(config):
    assert status(Run(config)).startswith("own: Own chains of own\n")
    tables = configuration.from_settings({"papers": ["wang2020/table2"], "seeds": [1]})
    assert status(Run(tables)).startswith(f"toy: {tables.preset.title}\n")
    both = configuration.from_settings(
        {"papers": ["wang2020/table2"], "seeds": [1], "chains": [ROOT, RETRAINED]}
    )
    assert status(Run(both)).startswith("own: Own chains of own\n")


def make_text_and_data(config):
    """The text and data of a run, with the notes of jobs that made them from a corpus."""
    data = config.data_folder(chains.parse(ROOT)) / paths.MANIFEST
    text = paths.text("toy") / paths.MANIFEST
    write_text("corpus.en", "a sentence\n")
    with current.making(text, [Path("corpus.en")]):
        write_json(text, {"digest": "text"})
    with current.making(data, [text]):
        write_json(data, {"digest": "data"})
    return text


def test_nothing_is_done_that_was_made_from_a_text_that_has_failed(config):
    text = make_text_and_data(config)
    finish(config, ROOT)
    assert row(status(Run(config)), "train") == "done         not scored yet"
    write_text(
        paths.log(text.parent),
        "nmtprune: corpus.en has 1 lines and corpus.de has 2: a parallel corpus needs equal sides\n",
    )
    text.unlink()
    with pytest.raises(KeyError), current.making(text, [Path("corpus.en")]):
        raise KeyError
    report = status(Run(config))
    assert (
        row(report, "train")
        == "failed       corpus.en has 1 lines and corpus.de has 2: a parallel corpus needs equal sides"
    )
    assert "tail -n 40 results/logs/data/toy/text.log" in report and "0 of 3 models made" in report


def test_nothing_is_done_that_was_made_from_another_corpus(config):
    make_text_and_data(config)
    for address in (ROOT, PRUNED, RETRAINED):
        finish(config, address)
    scores = paths.scores(chains.parse(RETRAINED))
    with current.making(scores, [paths.manifest(chains.parse(RETRAINED))]):
        write_text(scores, f"chain,set,bleu\n{RETRAINED},test,60.1\n")
    assert "3 of 3 models made, 1 of 2 scored" in status(Run(config))
    write_text("corpus.en", "b sentence\n")
    os.utime("corpus.en", (1, 1))
    assert "0 of 3 models made" in status(Run(config))


def test_a_held_lock_says_that_a_training_is_alive(config):
    report_progress(ROOT, age=3600)
    state = paths.state(paths.model(chains.parse(ROOT)))
    with open(state / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert is_locked(state)
        assert row(status(Run(config)), "train").startswith("running")
    assert not is_locked(state)


def test_a_failed_job_shows_what_it_said_and_its_log(config):
    fail(ROOT, "update 5\nnmtprune: results/data is damaged; remove it and run again\n")
    report = status(Run(config))
    assert row(report, "train") == "failed       results/data is damaged; remove it and run again"
    assert report.endswith("logs of failed jobs:\n  tail -n 40 results/logs/models/toy/toy/s1/train.log")


def test_a_crash_shows_its_last_line(config):
    fail(ROOT, "Traceback (most recent call last):\n  File ...\nKeyError: 'x'\n")
    assert row(status(Run(config)), "train") == "failed       KeyError: 'x'"


def test_a_killed_job_has_not_failed(config):
    fail(ROOT, "update 5/600, epoch 1, 80 s left\n")
    report_progress(ROOT, age=3600)
    assert row(status(Run(config)), "train").startswith("interrupted")


def test_finished_and_scored_models_are_counted(config):
    finish(config, ROOT, updates=600, wall_seconds=20.0)
    finish(config, PRUNED)
    finish(config, RETRAINED, updates=150, wall_seconds=5.0)
    report = status(Run(config))
    assert (
        row(report, "train") == "done         not scored yet"
    )  # the dense model beside which the chain is shown
    assert row(report, "train/prune-local-50/retrain") == "done         not scored yet"
    assert "3 of 3 models made, 0 of 2 scored" in report
    assert "time left" not in report
    write_text(paths.scores(chains.parse(RETRAINED)), f"chain,set,bleu\n{RETRAINED},test,60.1\n")
    assert "3 of 3 models made, 1 of 2 scored" in status(Run(config))


def test_analyses_that_are_there_are_counted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = configuration.from_settings({"papers": ["wang2020/table7", "wang2020/table2"], "seeds": [1]})
    assert "0 of 3 analyses made" in status(Run(run))
    write_text(paths.analysis(chains.parse(ROOT), "probing"), "name,accuracy\n")
    assert "1 of 3 analyses made" in status(Run(run))


def test_no_analyses_no_line(config):
    assert "analyses" not in status(Run(config))


def test_a_model_of_other_settings_is_not_done(config):
    finish(config, ROOT)
    write_json(config.data_folder(chains.parse(ROOT)) / paths.MANIFEST, {"digest": "other data"})
    assert row(status(Run(config)), "train") == "waiting"


def test_a_failed_scoring_is_said_unless_the_model_was_made_since(config):
    finish(config, ROOT)
    finish(config, PRUNED)
    finish(config, RETRAINED)
    chain = chains.parse(RETRAINED)
    log = paths.log(paths.scores(chain))
    write_text(log, "nmtprune: no memory\n")
    os.utime(paths.manifest(chain), (time.time() - 60,) * 2)
    assert row(status(Run(config)), "train/prune-local-50/retrain") == "failed       scoring: no memory"
    os.utime(log, (time.time() - 120,) * 2)
    assert row(status(Run(config)), "train/prune-local-50/retrain") == "done         not scored yet"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (40.4, "40 s"),
        (61, "1 min"),
        (3540, "59 min"),
        (3600, "1 h 00 min"),
        (11100, "3 h 05 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations_are_written_for_people(seconds, words):
    assert duration(seconds) == words
