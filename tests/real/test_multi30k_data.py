"""Multi30k, if available: its checksums, its size, and subwords that reproduce its text."""

from pathlib import Path

import pytest

from nmtprune.data.corpus import make_corpus
from nmtprune.data.encoded import make_data
from nmtprune.data.subwords import Subwords
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.reading import read_yaml
from nmtprune.experiment.task import Task
from nmtprune.foundation.files import read_json, read_lines

MULTI30K = Path(__file__).resolve().parents[3] / "shared" / "data" / "multi30k"
pytestmark = pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"Multi30k is not at {MULTI30K}")


@pytest.mark.parametrize("pair", ["en-de", "de-en", "en-fr", "cs-en"])
def test_every_language_pair_is_whole(tmp_path, pair):
    task = Task.over(read_yaml(WORKFLOW / "tasks" / f"multi30k-{pair}.yaml"))
    make_corpus(task, tmp_path / "text", MULTI30K, tmp_path / "downloads")
    counts = read_json(tmp_path / "text" / "manifest.json")["counts"]
    assert {split: counted["kept"] for split, counted in counts.items()} == {
        "train": 29000,
        "dev": 1014,
        **dict.fromkeys(task.tests, 1000),
    }
    assert not (tmp_path / "downloads").exists()


def test_subwords_bring_the_test_set_back(tmp_path):
    task = Task.over(read_yaml(WORKFLOW / "tasks" / "multi30k-en-de.yaml"))
    make_corpus(task, tmp_path / "text", MULTI30K, tmp_path / "downloads")
    make_data(
        task, {"type": "sentencepiece", "size": 4000, "joint": True}, tmp_path / "text", tmp_path / "data"
    )
    manifest = read_json(tmp_path / "data" / "manifest.json")
    assert manifest["types"]["en"] == manifest["types"]["de"]
    assert 3990 <= manifest["types"]["en"] <= 4001
    subwords = Subwords.load(tmp_path / "data")
    lines = read_lines(tmp_path / "text" / "test_2016_flickr.de")
    same = sum(subwords.decode(subwords.encode("target", line)) == line for line in lines)
    assert same >= 0.99 * len(lines)
