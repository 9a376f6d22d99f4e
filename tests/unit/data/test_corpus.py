"""A task's text folder: what was kept, what was dropped and why, and a digest of everything."""

import csv
import json

import pytest

from nmtprune.data.corpus import make_corpus, own_files
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines, sha256_of


def own(tmp_path, train, dev=(("dev", "Dev"),), test=(("", "leer"),)):
    """A task of own files, a list of pairs a split."""
    for split, pairs in (("train", train), ("dev", dev), ("test", test)):
        for side, language in enumerate(("en", "de")):
            (tmp_path / f"own.{split}.{language}").write_text(
                "".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8"
            )
    sources = {split: [{"files": f"{tmp_path}/own.{split}.{{lang}}"}] for split in ("train", "dev", "test")}
    return {"title": "Own", "source": "en", "target": "de", **sources, "test": {"news": sources["test"]}}


def make(task, tmp_path, name="text"):
    make_corpus(Task.over(task), tmp_path / name, None, tmp_path / "downloads")
    return tmp_path / name


def test_only_training_pairs_are_dropped_and_counted(tmp_path):
    task = own(tmp_path, [("A b", "C"), ("", "x"), ("a b c", "d")])
    folder = make({**task, "cleaning": {"max_words": 2}}, tmp_path)
    assert read_lines(folder / "train.en") == ["A b"] and read_lines(folder / "train.de") == ["C"]
    assert read_lines(folder / "news.en") == [""] and read_lines(folder / "news.de") == ["leer"]
    with open(folder / "counts.csv", newline="") as file:
        rows = {row["split"]: row for row in csv.DictReader(file)}
    assert rows["train"] == {
        **{"split": "train", "read": "3", "kept": "1", "empty": "1", "control characters": "0"},
        **{"too long": "1", "ratio": "0", "duplicate": "0"},
    }
    assert (rows["news"]["read"], rows["news"]["kept"]) == ("1", "1")
    manifest = read_json(folder / "manifest.json")
    assert manifest["files"]["train.en"] == sha256_of(folder / "train.en")
    assert manifest["counts"]["train"]["too long"] == 1


def test_held_out_pairs_leave_the_training_text(tmp_path):
    task = own(tmp_path, [(f"S{i}", f"T{i}") for i in range(1, 8)] + [("", "")])
    folder = make({**task, "dev": {"held_out": 3}, "cleaning": {"lowercase": True}}, tmp_path)
    assert read_lines(folder / "dev.en") == ["s3", "s6"] and read_lines(folder / "dev.de") == ["t3", "t6"]
    assert read_lines(folder / "train.en") == ["s1", "s2", "s4", "s5", "s7"]
    counts = read_json(folder / "manifest.json")["counts"]
    assert (counts["train"]["read"], counts["train"]["kept"], counts["train"]["empty"]) == (6, 5, 1)
    assert (counts["dev"]["read"], counts["dev"]["kept"]) == (2, 2)


def test_the_digest_follows_the_text_alone(tmp_path):
    task = own(tmp_path, [("a", "b")])
    first = read_json(make(task, tmp_path) / "manifest.json")["digest"]
    assert read_json(make({**task, "title": "Other"}, tmp_path, "again") / "manifest.json")["digest"] == first
    other = own(tmp_path, [("a", "b"), ("c", "d")])
    assert read_json(make(other, tmp_path, "other") / "manifest.json")["digest"] != first


def references(tmp_path, *files):
    for number, lines in enumerate(files, 2):
        (tmp_path / f"own.test.de.{number}").write_text("".join(f"{line}\n" for line in lines))
    return {"news": [f"{tmp_path}/own.test.de.{number}" for number in range(2, 2 + len(files))]}


def test_further_references_lie_beside_the_first_and_belong_to_the_digest(tmp_path):
    task = own(tmp_path, [("a", "b")], test=[("x", "Eins"), ("y", "Zwei")])
    more = references(tmp_path, ["Ein ", "zwo"], ["EINS", ""])
    folder = make({**task, "references": more, "cleaning": {"lowercase": True}}, tmp_path)
    assert read_lines(folder / "news.de") == ["eins", "zwei"]
    assert [read_lines(folder / f"news.de.{number}") for number in (2, 3)] == [["ein", "zwo"], ["eins", ""]]
    manifest = read_json(folder / "manifest.json")
    assert {"news.de.2", "news.de.3"} < set(manifest["files"])
    without = read_json(make({**task, "cleaning": {"lowercase": True}}, tmp_path) / "manifest.json")
    assert not list(folder.glob("news.de.*")) and without["digest"] != manifest["digest"]


def test_references_have_as_many_lines_as_the_test_set(tmp_path):
    task = own(tmp_path, [("a", "b")], test=[("x", "Eins"), ("y", "Zwei")])
    task["references"] = references(tmp_path, ["Ein", "zwo", "drei"])
    with pytest.raises(UserError, match=r"references: news: .*de\.2 has 3 lines, and the test set has 2"):
        make(task, tmp_path)
    assert not (tmp_path / "text" / "manifest.json").exists()
    (tmp_path / "own.test.de.2").unlink()
    with pytest.raises(UserError, match=r"there is no file .*de\.2, which the task names as further"):
        make(task, tmp_path)
    with pytest.raises(UserError, match=r"names the file .*de\.2, and there is no"):
        own_files(Task.over(task), None)
    references(tmp_path, ["Ein", "zwo"])
    assert own_files(Task.over(task), None)[-1] == f"{tmp_path}/own.test.de.2"  # a change of it is noticed


def test_a_failure_leaves_no_manifest_and_no_half_files(tmp_path):
    task = own(tmp_path, [("a", "b")])
    folder = make(task, tmp_path)
    (tmp_path / "own.train.de").write_text("b\nc\n")
    with pytest.raises(UserError, match=r"has 1 lines and .* has 2"):
        make(task, tmp_path)
    assert not (folder / "manifest.json").exists()
    assert not list(folder.glob(".*")) and read_lines(folder / "train.de") == ["b"]


def test_nothing_left_to_train_on(tmp_path):
    with pytest.raises(UserError, match="no sentence pair is left in `train` of 1 read"):
        make(own(tmp_path, [("a", "")]), tmp_path)


def test_toy_text_has_labels_and_its_reverse_swaps_the_sides(tmp_path):
    def task(**extra):
        part = {
            split: [{"toy": {"sentences": 20, "seed": seed}, **extra}]
            for seed, split in enumerate(("train", "dev", "test"))
        }
        return {"title": "Toy", "source": "a", "target": "b", **part, "test": {"test": part["test"]}}

    forward, backward = make(task(), tmp_path), make(task(reverse=True), tmp_path, "back")
    assert (
        read_lines(forward / "train.a")
        == read_lines(backward / "train.b")
        != read_lines(backward / "train.a")
    )
    labels = [json.loads(line) for line in read_lines(forward / "test.labels.jsonl")]
    assert len(labels) == 20 and all("SentLen" in label for label in labels)
    assert "test.labels.jsonl" in read_json(forward / "manifest.json")["files"]
