"""Equal footing in every preset: compared rows were trained alike, or the caption says what differs.

They have the same updates, fresh optimisers, batches, selection and precision.
"""

import functools
import itertools
import re

import pytest
from support.workplace import MICRO

from nmtprune.experiment import config, footing
from nmtprune.experiment.chain import parse
from nmtprune.experiment.run import Run
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting import captions

PRESETS = ("toy", "multi30k", "iwslt14", "wmt14", "paper", "micro-papers")
SHIPPED = PRESETS[:-1]
ROUND = "prune-local-50/retrain/rejuvenate-zero"
# a control by the steps that it is set against: with these it shares everything but what is compared
CONTROLS = {
    "train/continue": rf"train/{ROUND}|train/prune-global-\d+/retrain",
    "train/continue/continue": f"train/{ROUND}/{ROUND}",
    "train/continue/continue/continue": f"train/{ROUND}/{ROUND}/{ROUND}",
    f"train/{ROUND}": r"train/prune-\w+-50/retrain/rejuvenate-\w+",
    "train": r"train.*/(restart|drop-\d+)",
    "train/continue-short": r"train/rewind-\d+",
}
WORDS = {
    "lengths": "updates between fresh optimisers",
    "selection": "in selection",
    "precision": "in precision",
    "batches": "in batches",
}


@functools.cache
def run(preset):
    return config.from_settings({"preset": preset, "own": str(MICRO)})


@functools.cache
def items(preset):
    return Run(run(preset)).items


def blocks(item):
    """The rows that are compared with each other."""
    parts = {}
    for row in item.rows:
        baseline = row if row.baseline else row.against
        parts.setdefault(baseline.chains if baseline else row.group, []).append(row)
    return parts.values()


def steps(row):
    return "/".join(map(str, row.chains[0].steps))


@pytest.mark.parametrize("preset", PRESETS)
def test_compared_rows_are_on_equal_footing_or_the_caption_says_in_what_not(preset):
    measured = Measured(run(preset))
    compared = 0
    for item in items(preset):
        said = (
            " ".join(captions.caption(item, measured))
            .partition("Compared rows differ in")[2]
            .partition("all else is equal")[0]
        )
        for rows in blocks(item):
            feet = [footing.of(run(preset), row.chains[0]) for row in rows]
            for one, two in itertools.combinations(feet, 2):
                differing = {name for name in WORDS if getattr(one, name) != getattr(two, name)}
                assert all(WORDS[name].removeprefix("in ") in said for name in differing), (
                    item.key,
                    differing,
                    said,
                )
                compared += 1
    assert compared > 10


@pytest.mark.parametrize("preset", SHIPPED)
def test_a_method_and_its_control_share_everything(preset):
    pairs = 0
    for item in items(preset):
        for one, two in (pair for rows in blocks(item) for pair in itertools.permutations(rows, 2)):
            control, method = (row.chains[0] for row in (one, two))
            if control.recipe == method.recipe and re.fullmatch(CONTROLS.get(steps(one), "none"), steps(two)):
                assert footing.of(run(preset), control) == footing.of(run(preset), method), (
                    item.key,
                    str(control),
                    str(method),
                )
                pairs += 1
    assert pairs > 3


def test_a_footing_in_numbers():
    of = functools.partial(footing.of, run("micro-papers"))
    found = of(parse("micro/micro/s1/train/prune-local-50/retrain/rejuvenate-zero"))
    assert (found.lengths, found.updates, found.selection, found.precision) == (
        (24, 12, 12),
        48,
        ("nll",),
        ("fp32",),
    )
    assert of(parse("micro/micro/s1/train/continue")) == found
    assert of(parse("micro/micro/s1/train/prune-local-50/restart")).lengths == (12,)
    assert of(parse("micro/micro/s1/train-half")).precision == ("fp16",)


# a student's phases, beside one trained from scratch
PHASES = r"train-pretrain/lasso-[\w+]+-\w+-[\w.]+(/slice)?/converge"


@pytest.mark.parametrize("preset", ["toy", "multi30k"])
def test_students_in_phases_have_the_updates_of_one_from_scratch(preset):
    """In presets whose schedules have a fixed number of updates; those of the papers end by patience."""
    pairs = 0
    for item in items(preset):
        for rows in blocks(item):
            scratch = {
                row.chains[0].recipe: row
                for row in rows
                if steps(row) == "train" or steps(row).endswith("/restart")
            }
            for row in rows:
                if (other := scratch.get(row.chains[0].recipe)) and re.fullmatch(PHASES, steps(row)):
                    ours, theirs = (footing.of(run(preset), each.chains[0]).updates for each in (row, other))
                    assert ours == theirs, (item.key, row.name, ours, theirs)
                    pairs += 1
    assert pairs > 10
