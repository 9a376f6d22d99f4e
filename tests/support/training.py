"""Interrupted trainings, and comparisons of finished ones: weights, history and manifest."""

import contextlib
import csv
import json

import pytest
import torch

from nmtprune.store import checkpoints
from nmtprune.training import loop

TIMES = {"seconds", "target_words_per_second"}


def weights(file):
    """Tensors of a checkpoint by name, without fairseq's `_float_tensor`, which is uninitialised memory."""
    found = checkpoints.read(file)
    state = found.get("model", found)
    return {name: tensor for name, tensor in state.items() if "_float_tensor" not in name}


def same(one, two):
    """Whether two mappings have equal tensors in the same order."""
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


def history(directory):
    """The rows of a history without columns of time."""
    with open(directory / "history.csv", encoding="utf-8") as file:
        return [
            {key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)
        ]


def manifest(directory):
    """The manifest of a model."""
    return json.loads((directory / "manifest.json").read_text())


def assert_same_training(directory, reference):
    """Assert that two trainings have equal weights, histories and facts."""
    for name in ("model.pt", "last.pt"):
        assert same(weights(directory / name), weights(reference / name)), name
    assert history(directory) == history(reference)
    for key in ("digest", "updates", "selected_update", "stopped_early"):
        assert manifest(directory)[key] == manifest(reference)[key]


class Killed(BaseException):
    """Ends a training by an exception that nothing in it handles."""


@contextlib.contextmanager
def interrupted(monkeypatch, owner, name, at):
    """Context in which call number `at` of a function raises Killed."""
    plain, calls = getattr(owner, name), []

    def killing(*arguments, **options):
        calls.append(name)
        if len(calls) == at:
            raise Killed
        return plain(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing)
        with pytest.raises(Killed):
            yield


SAVED_AFTER_VALIDATIONS, SAVED_ALWAYS = 300, -1
UPDATE = (loop.Training, "_update")
