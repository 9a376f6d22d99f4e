"""Dry runs: every preset resolves quickly into the jobs of its tables, and changes rerun their dependents."""

import csv
import re
import resource
import sys
from collections import Counter

import pytest
import yaml
from support.dry_runs import dry_run, finish
from support.workplace import SETTINGS, Workplace

from nmtprune.experiment import config, paths
from nmtprune.experiment.run import Run
from nmtprune.store import units

PRESETS = ("toy", "multi30k", "iwslt14", "wmt14", "paper")


# the rule that makes a file, where it is not named as that is
RULE_OF = {"scores": "score", "weights": "matrix_analysis", "matrices": "matrix_analysis"}
RULE_OF |= dict.fromkeys(("representations", "probing", "similarity", "isometry"), "encoder_analysis")


def expected(settings):
    """Jobs by rule, counted from the files that the tables and figures ask for."""
    run = Run(settings)
    targets = units.Kept(settings).targets(run)
    wanted = {file for file in targets if file.name != "manifest.json"}
    every = set(run.models)
    ordered = {each.parent for each in every if each.last.kind.needs_order} | {
        each for each in every if paths.analysis(each, "order") in wanted
    }
    wanted |= {paths.analysis(each, name) for each in ordered for name in ("order", "contribution")}
    counts = Counter({"pages": 1, "all": 1})
    counts.update("speed" if "speed" in file.parts else RULE_OF.get(file.stem, file.stem) for file in wanted)
    made = set()
    looked_at = {file.parent for file in targets}
    for each in run.chains:
        # what only selects is made by the job of what follows it, unless something is asked of itself
        made |= {
            one for one in each.ancestors() if not one.last.kind.selects or paths.model(one) in looked_at
        }
    counts.update(each.last.kind.rule for each in made)
    tasks = {each.task for each in made}
    distilled = {task for task in tasks if settings.teachers(task)}
    translating = {
        *run.scored,
        *(each for group in run.speed_groups.values() for each in group),
    }
    counts.update(
        {
            "text": len(tasks - distilled),
            "distil": len(distilled),
            "data": len({settings.data_folder(each) for each in made}),
            "shortlist": len({settings.shortlist(each) for each in translating} - {None}),
        }
    )
    return {rule: count for rule, count in counts.items() if count}


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_resolves_within_ten_seconds(workplace, preset):
    workplace.configure(preset=preset, own=None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = dry_run(workplace)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 10
    found.pop("total")
    assert found == expected(config.from_settings({**SETTINGS, "preset": preset, "own": None}))
    assert found["train"] >= 1 and found["retrain"] >= 1
    if any(
        item.paper == "behnke2021"
        for item in Run(config.from_settings({**SETTINGS, "preset": preset, "own": None})).items
    ):
        assert (
            found["slice_model"] <= found["lasso"]
            and found["finetune"] <= found["int8"]
            and found["speed"] >= 1
        )
    assert not (workplace / "results").exists()


def test_a_run_of_some_units_makes_what_headline_claims_need_of_them(workplace):
    asked = {
        "only_headlines": True,
        "only_units": ["multi30k-en-de/tiny-128/s1", "multi30k-en-de/tiny-128/s2"],
    }
    workplace.configure(preset="multi30k", own=None, papers=["wang2020"], **asked)
    steps = dict.fromkeys(("train", "retrain", "rejuvenate", "variants"), 2) | {"continue_training": 4}
    assert dry_run(workplace) == steps | {
        "score": 10,
        "text": 1,
        "data": 1,
        "pages": 1,
        "all": 1,
        "total": 26,
    }


# Snakemake, which writes each job's message and priority to a file once it has set them
PRIORITIES = """
import csv, sys
import snakemake.api, snakemake.cli
from snakemake.dag import DAG
update = DAG.update_priority
def write(dag):
    update(dag)
    with open("priorities.csv", "w") as file:
        csv.writer(file).writerows((job.message, dag.priority(job)) for job in dag.needrun_jobs())
DAG.update_priority = write
snakemake.cli.main(sys.argv[1:])
"""


def test_what_headline_claims_need_comes_first(workplace):
    workplace.configure(preset="multi30k", own=None)
    _, _, _, *command = workplace.snakemake_command("-n", "--quiet", "all")
    done = workplace.run(sys.executable, "-c", PRIORITIES, *command)
    assert done.returncode == 0, done.stderr[-3000:]
    with open(workplace / "priorities.csv", encoding="utf-8", newline="") as file:
        priorities = {message: int(priority) for message, priority in csv.reader(file)}
    first = {
        str(each)
        for each in Run(config.from_settings({**SETTINGS, "preset": "multi30k", "own": None})).headline_models
    }
    trained = {
        message: priority
        for message, priority in priorities.items()
        if re.fullmatch(r"[^/ ]+/[^/]+/s\d+/\S+", message)
    }
    assert (
        {message for message, priority in trained.items() if priority > 0}
        == first & set(trained)
        != set(trained)
    )
    assert {priority for message, priority in trained.items() if "/s2/" in message} == {998, -2}
    assert priorities["ablating each component of multi30k-en-de/tiny-6-6/s1/train"] == 999
    assert priorities["scoring variants of multi30k-cs-en/tiny-96/s1/train"] == 999


@pytest.fixture
def finished(tmp_path):
    workplace = Workplace(tmp_path / "workplace")
    finish(workplace, papers=["wang2020/table2"])
    return workplace


def edit(workplace, kind, change, name="micro"):
    file = workplace / "own" / kind / f"{name}.yaml"
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def rate_of(schedule, value):
    def change(recipe):
        for phase in recipe["schedules"][schedule]["learning_rate"]["phases"]:
            phase["rate"] = value

    return change


def test_a_change_reruns_what_depends_on_it_and_nothing_else(finished):
    original = (finished / "own" / "recipes" / "micro.yaml").read_text()
    edit(finished, "recipes", rate_of("retrain", 0.001))
    found = dry_run(finished)
    assert {rule: found.get(rule, 0) for rule in ("data", "train", "continue_training")} == {
        "data": 0,
        "train": 0,
        "continue_training": 0,
    }
    # the model stays; what is retrained of it is made again, with what follows that and the masks in between
    assert (found["retrain"], found["rejuvenate"], found.get("prune")) == (3, 3, None)
    assert found["score"] == 3 and found["pages"] == 1

    (finished / "own" / "recipes" / "micro.yaml").write_text(original)
    edit(finished, "recipes", lambda recipe: recipe.update(title="Another title"))
    assert set(dry_run(finished)) <= {"pages", "all", "total"}
    edit(finished, "recipes", lambda recipe: recipe["decoding"].update(beam=3))
    found = dry_run(finished)
    assert (found["score"], found["pages"], found["total"]) == (8, 1, 10)

    (finished / "own" / "recipes" / "micro.yaml").write_text(original)
    edit(finished, "recipes", lambda recipe: recipe["prunable"].update(embeddings="out"))
    assert dry_run(finished)["retrain"] == 3

    (finished / "own" / "recipes" / "micro.yaml").write_text(original)
    edit(finished, "tasks", lambda task: task.update(cleaning={"max_words": 50}))
    assert dry_run(finished)["text"] == 1


def test_a_distilled_task_brings_its_teacher_and_reruns_with_its_beam(tmp_path):
    workplace = Workplace(tmp_path / "workplace")
    workplace.configure(papers=[], chains=["micro-distilled/micro/s1/train"])
    assert dry_run(workplace) == {
        "all": 1,
        "text": 1,
        "distil": 1,
        "data": 2,
        "train": 2,
        "score": 1,
        "pages": 1,
        "total": 9,
    }
    by_hand = dry_run(workplace, "--", "results/data/toy-distilled/text/manifest.json")
    assert by_hand == {"text": 1, "distil": 1, "data": 1, "train": 1, "total": 4}
    finish(workplace, papers=[], chains=["micro-distilled/micro/s1/train"])
    for kind, name, change, trainings in (
        ("tasks", "micro-distilled", lambda task: task["distilled"].update(beam=4), 1),
        ("recipes", "micro-teacher", lambda recipe: recipe["schedules"]["train"].update(updates=160), 2),
    ):
        original = (workplace / "own" / kind / f"{name}.yaml").read_text()
        edit(workplace, kind, change, name)
        found = dry_run(workplace)
        assert found == {
            "all": 1,
            "distil": 1,
            "data": 1,
            "train": trainings,
            "score": 1,
            "pages": 1,
            "total": 5 + trainings,
        }
        (workplace / "own" / kind / f"{name}.yaml").write_text(original)


@pytest.mark.parametrize("preset", PRESETS)
def test_fetch_makes_all_texts_that_are_not_distilled_and_nothing_else(workplace, preset):
    workplace.configure(preset=preset, own=None)
    texts = expected(workplace.config)["text"]
    assert dry_run(workplace, "--", "fetch") == {"text": texts, "fetch": 1, "total": texts + 1}
