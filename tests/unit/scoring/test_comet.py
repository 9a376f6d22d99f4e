"""COMET: a missing library or model is reported."""

from __future__ import annotations

import sys
import types

import pytest

from nmtprune.foundation.errors import UserError
from nmtprune.scoring import comet


@pytest.fixture
def checkpoint(tmp_path):
    file = tmp_path / "checkpoints" / "model.ckpt"
    file.parent.mkdir()
    file.touch()
    (tmp_path / "hparams.yaml").touch()
    comet._model.cache_clear()
    yield file
    comet._model.cache_clear()


@pytest.fixture
def installed(monkeypatch):
    """A stand-in for unbabel-comet that scores the share of the reference's words in the hypothesis."""
    calls = []

    class Model:
        def predict(self, examples, batch_size, gpus, progress_bar):
            calls.append(examples)
            words = [(set(example["mt"].split()), set(example["ref"].split())) for example in examples]
            return types.SimpleNamespace(
                scores=[len(found & wanted) / len(wanted) for found, wanted in words]
            )

    def load_from_checkpoint(path, local_files_only):
        assert local_files_only
        return Model()

    module = types.ModuleType("comet")
    module.__spec__ = types.SimpleNamespace(name="comet")
    module.load_from_checkpoint = load_from_checkpoint
    monkeypatch.setitem(sys.modules, "comet", module)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # put back afterwards
    return calls


def test_scores_are_a_hundred_times_the_models(checkpoint, installed):
    assert comet.unavailable(checkpoint) is None
    assert comet.scores(["ein Hund", "zwei"], ["a dog", "three"], ["a cat", "two"], checkpoint) == [50.0, 0.0]
    assert installed == [
        [{"src": "ein Hund", "mt": "a dog", "ref": "a cat"}, {"src": "zwei", "mt": "three", "ref": "two"}]
    ]


def test_nothing_is_downloaded(checkpoint, installed):
    import os

    comet.scores(["a"], ["b"], ["c"], checkpoint)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("missing", ["checkpoints/model.ckpt", "hparams.yaml"])
def test_a_missing_file_is_named(checkpoint, installed, missing):
    (checkpoint.parent.parent / missing).unlink()
    assert comet.unavailable(checkpoint) == f"there is no file {checkpoint.parent.parent / missing}"


def test_no_model_is_a_reason(installed):
    assert comet.unavailable(None) == comet.unavailable("") == "no comet_model is set"


def test_no_library_is_a_reason_and_an_error_where_scores_are_asked_for(checkpoint, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert comet.unavailable(checkpoint) == "COMET is not installed: pip install unbabel-comet"
    with pytest.raises(UserError, match="comet_model: COMET is not installed"):
        comet.scores(["a"], ["b"], ["c"], checkpoint)


def test_an_encoder_that_is_not_in_the_cache_is_an_error_in_one_sentence(checkpoint, installed, monkeypatch):
    def load_from_checkpoint(path, local_files_only):
        raise OSError("We couldn't find xlm-roberta-large\nin the cache")

    monkeypatch.setattr(sys.modules["comet"], "load_from_checkpoint", load_from_checkpoint)
    with pytest.raises(
        UserError, match=r"not in the local cache of Hugging Face \(We couldn't find xlm-roberta-large\)"
    ):
        comet.scores(["a"], ["b"], ["c"], checkpoint)
