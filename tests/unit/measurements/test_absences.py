"""Reasons why numbers are missing, put together."""

import pytest

from nmtprune.measurements.absences import merged


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        (["t/r/s1/train has not run yet"], ["t/r/s1/train has not run yet"]),
        (
            [f"t/r/s{seed}/train/prune-global-50/retrain has not run yet" for seed in (1, 2, 3)],
            ["train/prune-global-50/retrain of r on t has not run yet (seeds 1, 2, 3)"],
        ),
        (
            [f"t-{task}/r/s1/train is not scored yet" for task in "abc"],
            ["t-a/r/s1/train and 2 more are not scored yet"],
        ),
        (
            [f"t/{recipe}/s{seed}/train was lost" for recipe in "ab" for seed in (1, 2)],
            ["train of a on t and train of b on t were lost (seeds 1, 2)"],
        ),
        (  # of other seeds: none are named
            ["t/a/s1/train has not run yet; t/a/s2/train has not run yet", "t/b/s1/train has not run yet"],
            ["train of a on t and t/b/s1/train have not run yet"],
        ),
        (
            [
                "speed on t is not measured yet; t/r/s1/train has no order yet",
                "speed on t is not measured yet",
            ],
            ["speed on t is not measured yet", "t/r/s1/train has no order yet"],
        ),
        (  # a command is no reason of its own, and stays as it is
            [f"t/r/s{seed}/train is old; score it again: score t/r/s{seed}/train" for seed in (1, 2)],
            [
                "train of r on t is old (seeds 1, 2)",
                "score it again: score t/r/s1/train",
                "score it again: score t/r/s2/train",
            ],
        ),
        ([], []),
    ],
)
def test_models_that_lack_the_same_are_one_reason(reasons, said):
    assert merged(reasons) == said
