"""Snakemake makes outdated files again, whatever their dates, until they are made."""

import json
import os
import random
import re
import shutil
import time

import pytest
import yaml
from support.workplace import MICRO, Workplace

from nmtprune.experiment.run import Run
from nmtprune.planning.jobs import Jobs, counts

CHAIN = "mine/micro/s1/train"
LINES = 80
YEARS = 3 * 365 * 86400


def corpus(workplace, number, source=LINES, target=LINES):
    """Training, development and test sets of invented words: other ones for another `number`."""
    drawn = random.Random(number)
    words = ["".join(drawn.choices("abcdefghijklmnop", k=6)) for _ in range(200)]
    for split, pairs in (("train", (source, target)), ("dev", (8, 8)), ("test", (8, 8))):
        for language, lines in zip(("en", "de"), pairs, strict=True):
            text = "".join(f"{language} {' '.join(drawn.choices(words, k=4))} .\n" for _ in range(lines))
            (workplace / f"{split}.{language}").write_text(text)


def dated(workplace, seconds):
    """Date all corpus files so many seconds before now, as `cp -p` may leave them."""
    for file in workplace.folder.glob("*.??"):
        os.utime(file, (time.time() - seconds,) * 2)


def planned(workplace):
    """The rules of the jobs that a dry run counts."""
    done = workplace.snakemake("-n")
    assert done.returncode == 0, done.stderr[-3000:]
    told = done.stdout + done.stderr
    return (
        set()
        if "Nothing to be done" in told
        else {match[1] for match in re.finditer(r"^(\w+) +\d+$", told, re.MULTILINE)} - {"total"}
    )


def left(workplace):
    """The rules of the jobs that `plan` knows to be left."""
    with workplace.inside():
        return set(counts(Jobs(Run(workplace.config)).to_do()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run of one chain on a corpus of the user's own."""
    workplace = Workplace(tmp_path_factory.mktemp("made") / "workplace")
    shutil.copytree(MICRO, workplace / "own")
    files = {split: [{"files": f"{split}.{{lang}}"}] for split in ("train", "dev", "test")}
    task = {"title": "Mine", "source": "en", "target": "de", **files, "test": {"test": files["test"]}}
    (workplace / "own/tasks/mine.yaml").write_text(yaml.safe_dump(task))
    recipe = workplace / "own/recipes/micro.yaml"
    recipe.write_text(recipe.read_text().replace("size: 200", "size: 80"))
    workplace.configure(own="own", papers=[], chains=[CHAIN])
    corpus(workplace, 0)
    workplace.finish()
    return workplace


@pytest.fixture
def place(made, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(made.folder, tmp_path / "copy")
    copy = Workplace.__new__(Workplace)
    copy.folder = tmp_path / "copy"
    return copy


EVERYTHING = {"text", "data", "train", "score", "pages", "all"}


def test_content_decides_and_not_the_date(place):
    assert planned(place) == set()
    corpus(place, 1)
    dated(place, YEARS)
    assert planned(place) == EVERYTHING == left(place) | {"all", "pages"}
    corpus(place, 0)
    dated(place, -YEARS)
    assert planned(place) == set() == left(place)


@pytest.mark.parametrize("notes", [True, False], ids=["notes", "no notes"])
def test_a_failure_comes_again_until_it_is_mended(place, notes):
    """A failure is repeated by the run and by the verb.

    So it is with a clock that is behind, and on files of an earlier version.
    """
    if not notes:
        shutil.rmtree(place / "results" / "origins")
    before = json.loads((place / f"results/models/{CHAIN}/manifest.json").read_text())["digest"]
    corpus(place, 1, target=LINES - 1)
    for _ in range(2):
        done = place.snakemake("--cores", "1")
        assert (
            done.returncode != 0
            and f"train.en has {LINES} lines and train.de has {LINES - 1}" in done.stdout + done.stderr
        )
        dated(place, YEARS)
    by_hand = place.nmtprune("text", "mine")
    assert by_hand.returncode == 2 and "a parallel corpus needs equal sides" in by_hand.stderr
    told = place.nmtprune("status").stdout
    assert re.search(r"train +failed +train.en has", told) and "0 of 1 models made, 0 of 1 scored" in told
    assert planned(place) == EVERYTHING
    corpus(place, 1)
    dated(place, YEARS)
    place.finish()
    assert json.loads((place / f"results/models/{CHAIN}/manifest.json").read_text())["digest"] != before
    assert planned(place) == set() and "1 of 1 models made, 1 of 1 scored" in place.nmtprune("status").stdout


def test_a_failed_training_of_other_settings_is_not_forgotten(place):
    """Asked for alone, without the scores that an earlier model has had."""
    recipe, manifest = place / "own/recipes/micro.yaml", f"results/models/{CHAIN}/manifest.json"
    whole = yaml.safe_load(recipe.read_text())
    whole["schedules"]["train"]["learning_rate"]["peak"] = 4e-3
    recipe.write_text(yaml.safe_dump(whole))
    data = next(place.folder.glob("results/data/mine/*/bin/train.en-de.en.bin"))
    data.rename(f"{data}.away")
    assert place.snakemake("--cores", "1", manifest).returncode != 0
    assert planned(place) == {"train", "score", "pages", "all"}
    data.with_name(f"{data.name}.away").rename(data)
    place.finish()
    assert planned(place) == set()
