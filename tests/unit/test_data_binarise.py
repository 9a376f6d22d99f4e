"""Binarised data: fairseq's own loader opens it and finds the sentences, test sets by their names."""

import pytest

from nmtprune.data.corpus import make_corpus
from nmtprune.data.encoded import make_data
from nmtprune.data.subwords import Subwords
from nmtprune.files import read_json, read_lines

SETTINGS = {
    "joint": {"type": "sentencepiece", "size": 40, "joint": True},
    "joint codes": {"type": "bpe", "size": 30, "joint": True, "joint_dictionary": False},
    "words": {"type": "words", "size": 7, "joint": False},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    english = [
        "the cat sees the dog",
        "the dog sees a cat",
        "a cat </s> sleeps",
        "dogs sleep and cats see",
        "the end",
    ] * 3
    german = [
        "die Katze sieht den Hund",
        "der Hund sieht eine Katze",
        "eine Katze schläft",
        "Hunde schlafen und Katzen sehen",
        "Ende",
    ] * 3
    for language, lines in (("en", english), ("de", german)):
        (folder / f"own.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    source = [{"files": f"{folder}/own.{{lang}}"}]
    task = {
        "title": "Own",
        "source": "en",
        "target": "de",
        "train": source,
        "dev": source,
        "test": {"news": source, "talks": source},
    }
    make_corpus(task, folder / "text", None, folder)
    return task, folder / "text"


@pytest.fixture(scope="module", params=SETTINGS)
def data(request, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_data(text[0], SETTINGS[request.param], text[1], folder)
    return request.param, folder


def fairseq_task(folder):
    import nmtprune.toolkit.shim  # noqa: F401

    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    return TranslationTask.setup_task(TranslationConfig(data=str(folder / "bin"), source_lang="en", target_lang="de", dataset_impl="mmap"))


def test_fairseq_reads_back_every_sentence(data, text):
    kind, folder = data
    task, subwords = fairseq_task(folder), Subwords.load(folder)
    for split, ours in (("train", "train"), ("valid", "dev"), ("news", "news"), ("talks", "talks")):
        task.load_dataset(split)
        dataset = task.dataset(split)
        lines = {language: read_lines(text[1] / f"{ours}.{language}") for language in ("en", "de")}
        assert len(dataset) == len(lines["en"])
        for index, english, german in zip(range(len(dataset)), lines["en"], lines["de"], strict=True):
            item = dataset[index]
            for side, line, dictionary in (
                ("source", english, task.source_dictionary),
                ("target", german, task.target_dictionary),
            ):
                pieces = subwords.encode(side, line).split()
                assert len(item[side]) == len(pieces) + 1
                assert item[side].tolist() == [dictionary.index(p) if p != "</s>" else dictionary.unk() for p in pieces] + [
                    dictionary.eos()
                ]
            if kind != "words":
                assert subwords.decode(task.target_dictionary.string(item["target"])) == german


def test_dictionaries(data):
    kind, folder = data
    task, manifest = fairseq_task(folder), read_json(folder / "manifest.json")
    source, target = task.source_dictionary, task.target_dictionary
    assert manifest["types"] == {"en": len(source), "de": len(target)}
    assert (source == target) == (kind == "joint")
    for dictionary in (source, target):
        counts = dictionary.count[dictionary.nspecial :]
        assert counts == sorted(counts, reverse=True) and min(counts) > 0
        assert "madeupword0000" not in dictionary.symbols
    if kind == "words":
        assert len(source) == len(target) == 7 + 4


def test_the_digest_speaks_of_what_training_sees(data, text, tmp_path):
    kind, folder = data
    task = {**text[0], "test": {"news": text[0]["test"]["news"]}}
    make_data(task, SETTINGS[kind], text[1], tmp_path)
    manifest, first = read_json(tmp_path / "manifest.json"), read_json(folder / "manifest.json")
    assert manifest["digest"] == first["digest"] and manifest["files"] != first["files"]
    other = {**SETTINGS[kind], "size": SETTINGS[kind]["size"] - 2}
    make_data(task, other, text[1], tmp_path)
    assert read_json(tmp_path / "manifest.json")["digest"] != first["digest"]


def test_given_dictionaries_are_taken_as_they_are(text, tmp_path):
    (tmp_path / "dicts").mkdir()
    for language in ("en", "de"):
        (tmp_path / "dicts" / f"dict.{language}.txt").write_text("cat 9\nKatze 3\nmadeupword0000 0\n")
    given = {"type": "given", "name": "mine", "dictionaries": str(tmp_path / "dicts"), "model": None}
    make_data(text[0], given, text[1], tmp_path / "data")
    task = fairseq_task(tmp_path / "data")
    assert task.source_dictionary.symbols[4:] == ["cat", "Katze", "madeupword0000"]
    task.load_dataset("train")
    assert task.dataset("train")[1]["source"].tolist() == [3, 3, 3, 3, 4, 2]
