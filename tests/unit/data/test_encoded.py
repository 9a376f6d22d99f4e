"""Binarised data: fairseq's own loader opens it and finds the sentences, and test sets by their names."""

import pytest

from nmtprune.data.corpus import make_corpus
from nmtprune.data.encoded import check_unknown, make_data
from nmtprune.data.subwords import Subwords
from nmtprune.experiment.task import Task
from nmtprune.fairseq_bridge.binarise import lengths
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines
from nmtprune.store.model import read_dictionary

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
    task = Task.over(
        {
            "title": "Own",
            "source": "en",
            "target": "de",
            "train": source,
            "dev": source,
            "test": {"news": source, "talks": source},
        }
    )
    make_corpus(task, folder / "text", None, folder)
    return task, folder / "text"


@pytest.fixture(scope="module", params=SETTINGS)
def data(request, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_data(text[0], SETTINGS[request.param], text[1], folder)
    return request.param, folder


def fairseq_task(folder):
    import nmtprune.fairseq_bridge.shim  # noqa: F401

    from fairseq.tasks.translation import TranslationConfig, TranslationTask

    return TranslationTask.setup_task(
        TranslationConfig(data=str(folder / "bin"), source_lang="en", target_lang="de", dataset_impl="mmap")
    )


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
                assert item[side].tolist() == [
                    dictionary.index(p) if p != "</s>" else dictionary.unk() for p in pieces
                ] + [dictionary.eos()]
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
    task = text[0].altered(test={"news": text[0].test["news"]})
    make_data(task, SETTINGS[kind], text[1], tmp_path)
    manifest, first = read_json(tmp_path / "manifest.json"), read_json(folder / "manifest.json")
    assert manifest["digest"] == first["digest"] and manifest["files"] != first["files"]
    other = {**SETTINGS[kind], "size": SETTINGS[kind]["size"] - 2}
    make_data(task, other, text[1], tmp_path)
    assert read_json(tmp_path / "manifest.json")["digest"] != first["digest"]


def test_given_dictionaries_are_taken_as_they_are(text, tmp_path):
    (tmp_path / "dicts").mkdir()
    words = {
        "en": "cat the sees dog a sleeps dogs sleep and cats see end",
        "de": "Katze die sieht den Hund der eine schläft Hunde und",
    }
    words["de"] += " schlafen Katzen sehen"
    for language in ("en", "de"):
        lines = "".join(f"{word} 9\n" for word in [*words[language].split(), "madeupword0000"])
        (tmp_path / "dicts" / f"dict.{language}.txt").write_text(lines, encoding="utf-8")
    given = {"type": "given", "name": "mine", "dictionaries": str(tmp_path / "dicts"), "model": None}
    make_data(text[0], given, text[1], tmp_path / "data")
    task = fairseq_task(tmp_path / "data")
    assert task.source_dictionary.symbols[4:] == [*words["en"].split(), "madeupword0000"]
    task.load_dataset("train")
    assert task.dataset("train")[1]["source"].tolist() == [5, 7, 6, 8, 4, 2]
    assert task.dataset("train")[4]["target"].tolist() == [3, 2]  # "Ende"


def test_a_dictionary_may_overwrite_its_symbols(text, tmp_path):
    """As in fairseq, text is encoded with the last entry of a symbol, and the earlier one stays a row."""
    (tmp_path / "dicts").mkdir()
    english = (
        "cat 9\nthe 8\n</s> 1 #fairseq:overwrite\nsees 5\ndog 4\na 4\nsleeps 3\ndogs 2\nsleep 1\nand "
        "1\ncats 1\nsee 1\nend 1\n"
    )
    english += "cat 1 #fairseq:overwrite\n"
    words = "Katze die sieht den Hund der eine schläft Hunde und schlafen Katzen sehen Ende"
    german = "".join(f"{word} 9\n" for word in words.split())
    for language, lines in (("en", english), ("de", german)):
        (tmp_path / "dicts" / f"dict.{language}.txt").write_text(lines, encoding="utf-8")
    make_data(
        text[0],
        {"type": "given", "name": "mine", "dictionaries": str(tmp_path / "dicts"), "model": None},
        text[1],
        tmp_path / "data",
    )
    assert (tmp_path / "data" / "bin" / "dict.en.txt").read_text(encoding="utf-8") == english
    task = fairseq_task(tmp_path / "data")
    assert (
        len(task.source_dictionary) == 4 + 14
        and task.source_dictionary.index("cat") == 17
        and task.source_dictionary.eos() == 2
    )
    task.load_dataset("train")
    assert task.dataset("train")[0]["source"].tolist() == [5, 17, 7, 5, 8, 2]
    symbols = read_dictionary(tmp_path / "data" / "bin" / "dict.en.txt")
    assert (
        len(set(symbols)) == len(symbols) == 18
        and symbols[2] == "</s>"
        and symbols[4] == "cat#4"
        and symbols[17] == "cat"
    )


@pytest.mark.parametrize("split", ["train", "dev", "news"])
def test_a_set_of_unknown_pieces_is_refused(split):
    """Too many unknown pieces: beyond a bound for an imported model, or far more than in training data."""
    shares = {name: {"en": 0.0, "de": 0.0} for name in ("train", "dev", "news")}
    shares[split]["de"] = 0.11
    given = {"type": "given", "name": "mine", "dictionaries": "dicts", "model": "spm.model"}
    with pytest.raises(
        UserError,
        match=(
            rf"import `mine`: 11% of the pieces of `{split}` \(de\) are unknown to dicts/dict\.de\.txt, "
            rf"and at most 5% may be; .*spm\.model"
        ),
    ):
        check_unknown(Task.over({"title": "Own"}), given, "sentencepiece", shares)
    check_unknown(
        Task.over({"title": "Own"}), {**given, "model": None}, "words", shares
    )  # words of a text are not all in a dictionary
    check_unknown(Task.over({"title": "Own"}), SETTINGS["joint"], "sentencepiece", shares)
    shares[split]["de"] = 0.6
    if split != "train":
        with pytest.raises(
            UserError,
            match=rf"60% of the pieces of `{split}` \(de\) are unknown, and 0% of the training data's",
        ):
            check_unknown(Task.over({"title": "Own"}), SETTINGS["joint"], "sentencepiece", shares)
    shares["train"]["de"] = 0.5  # a vocabulary of few words
    shares[split]["de"] = 0.6
    check_unknown(Task.over({"title": "Own"}), SETTINGS["words"], "words", shares)


def test_shares_of_unknown_pieces_and_lengths(data, text):
    kind, folder = data
    shares = read_json(folder / "manifest.json")["unknown"]
    assert shares.keys() == {"train", "dev", "news", "talks"} and shares["train"] == shares["news"]
    words = [word for line in read_lines(text[1] / "train.en") for word in line.split()]
    if kind == "words":
        task = fairseq_task(folder)
        known = [word for word in words if task.source_dictionary.index(word) > 3]
        assert shares["train"]["en"] == 1 - len(known) / len(words)
    else:
        assert max(shares["train"].values()) == 0
    subwords = Subwords.load(folder)
    source, target = lengths(folder / "bin", "dev", ("en", "de"))
    for sizes, side, language in ((source, "source", "en"), (target, "target", "de")):
        assert sizes.tolist() == [
            len(subwords.encode(side, line).split()) + 1 for line in read_lines(text[1] / f"dev.{language}")
        ]
