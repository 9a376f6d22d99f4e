"""Probing: examples, classifiers, intervals, and the table and figure of made-up accuracies."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nmtprune.analysis import classifiers, probing
from nmtprune.analysis.classifiers import Features, classify
from nmtprune.analysis.encoder import Encoder, batches
from nmtprune.analysis.probing import majority, wilson
from nmtprune.data import toy
from nmtprune.data.probing import (
    CATEGORIES,
    FILES,
    FROM_CORPUS,
    Examples,
    Missing,
    bigram_shifts,
    probes,
    sentence_lengths,
    word_contents,
)
from nmtprune.experiment import chain, config, paths, slices
from nmtprune.experiment.analysis_kinds import ANALYSIS_KINDS
from nmtprune.experiment.run import Run
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError
from nmtprune.measurements.measurements import Measured
from nmtprune.measurements.probing import accuracies, changes
from nmtprune.reporting import kinds
from nmtprune.store.state import begin

SIZES = {"train": 300, "dev": 100, "test": 100}
TOY = Task.over({"source": "src", "target": "tgt", "train": [{"toy": {"sentences": 10, "seed": 1}}]})
ENGLISH = Task.over({"source": "en", "target": "de", "train": [{"files": "train.{lang}"}]})
GERMAN = ENGLISH.altered(source="de", target="en")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Training text in an unknown language, with words of all frequencies: sentences of the toy grammar."""
    folder = tmp_path_factory.mktemp("text")
    lines = "".join(f"{example.source}\n" for example in toy.generate(3000, seed=5))
    for language in ("en", "de"):
        (folder / f"train.{language}").write_text(lines)
    return folder


def splits(examples):
    return {"train": examples.train, "dev": examples.dev, "test": examples.test}


def check(examples, sizes=SIZES):
    """Check the examples of a probe: disjoint splits of about the requested sizes, with balanced labels."""
    sentences = {split: {sentence for sentence, _ in each} for split, each in splits(examples).items()}
    assert sum(map(len, sentences.values())) == len(set().union(*sentences.values()))
    for split, each in splits(examples).items():
        counts = pd.Series([label for _, label in each]).value_counts()
        assert len(each) <= sizes[split] * 1.1
        assert counts.nunique() == 1


# Examples


def test_toy_has_all_ten(tmp_path):
    found = dict(probes(TOY, tmp_path, None, SIZES))
    assert list(found) == list(CATEGORIES) == list(toy.PROBES) == list(FILES)
    for name, examples in found.items():
        assert examples.source == "gold"
        assert {label for _, label in examples.train} == set(toy.PROBES[name].labels)
        check(examples)
    assert found["BShift"] == dict(probes(TOY, tmp_path, None, SIZES))["BShift"]


def test_toy_reversed_has_none(tmp_path):
    task = TOY.altered(train=[{"toy": {"sentences": 10, "seed": 1}, "reverse": True}])
    found = dict(probes(task, tmp_path, None, SIZES))
    assert all("labels for its source language" in each.reason for each in found.values())


def test_other_text_has_three(text):
    found = dict(probes(GERMAN, text, None, SIZES))
    assert {name for name, each in found.items() if isinstance(each, Examples)} == set(FROM_CORPUS)
    for name in FROM_CORPUS:
        assert found[name].source == "corpus"
        check(found[name])
    assert "source language `de`" in found["Tense"].reason
    assert "past_present.txt" in dict(probes(ENGLISH, text, None, SIZES))["Tense"].reason


def test_too_little_text(tmp_path):
    (tmp_path / "train.de").write_text("Nur ein einziger Satz steht hier.\n")
    found = dict(probes(GERMAN, tmp_path, None, SIZES))
    assert all(isinstance(each, Missing) for each in found.values())
    assert "too few sentences" in found["SentLen"].reason
    (tmp_path / "train.de").write_text("Kurz.\n")
    assert "too few sentences" in dict(probes(GERMAN, tmp_path, None, SIZES))["WC"].reason


def test_lowercased_task(text):
    found = dict(probes(GERMAN.altered(cleaning={"lowercase": True}), text, None, SIZES))
    assert all(sentence == sentence.lower() for sentence, _ in found["BShift"].test)
    for examples in (
        found["BShift"],
        dict(probes(TOY.altered(cleaning={"lowercase": True}), text, None, SIZES))["SentLen"],
    ):
        check(examples)


def test_sentences_that_differ_in_case_alone_are_in_one_split_of_a_lowercased_task(text, tmp_path):
    other_case = [
        line.replace("va\t", "te\t").replace("It", "IT") for line in some_lines() if line.startswith("va")
    ]
    senteval(tmp_path, "Tense", [*some_lines(), *other_case])
    sizes = dict.fromkeys(SIZES, 100)
    for lowercase, tested in ((False, 24), (True, 12)):
        examples = dict(probes(ENGLISH.altered(cleaning={"lowercase": lowercase}), text, tmp_path, sizes))[
            "Tense"
        ]
        each = [sentence for split in splits(examples).values() for sentence, _ in split]
        assert len(examples.test) == tested and len(set(each)) == len(each)
        assert all(sentence.islower() for sentence in each) == lowercase


def test_lengths_part_the_text_equally():
    sentences = [" ".join("w" * words) for words in range(5, 29)] * 2
    labelled = list(sentence_lengths(sentences, SIZES))
    assert pd.Series([label for _, label in labelled]).value_counts().tolist() == [8] * 6
    by_length = {len(sentence.split()): int(label) for sentence, label in labelled}
    assert [by_length[words] for words in sorted(by_length)] == sorted(by_length.values())


def test_a_probed_word_is_there_once(text):
    sentences = list(dict.fromkeys((text / "train.en").read_text().splitlines()))
    labelled = list(word_contents(sentences, SIZES))
    words = {word for _, word in labelled}
    assert len(words) == SIZES["train"] // 100
    for sentence, word in labelled:
        found = [each for each in sentence.lower().replace(",", "").strip(".?").split() if each in words]
        assert found == [word]


def test_shifted_words():
    sentences = (
        ["The old dog sees, it seems, a red cat."] * 3
        + ["Dogs bark."]
        + ["The small dog sees two big cats."] * 2
    )
    labelled = list(bigram_shifts(sentences, SIZES))
    assert "Dogs bark." not in [sentence for sentence, _ in labelled]
    assert [label for _, label in labelled].count("O") == 2
    for sentence, label in labelled:
        if label == "O":
            assert sentence in sentences
            continue
        (original,) = [each for each in set(sentences) if sorted(words(each)) == sorted(words(sentence))]
        moved = [
            place
            for place, pair in enumerate(zip(words(original), words(sentence), strict=True))
            if pair[0] != pair[1]
        ]
        assert len(moved) == 2
        assert moved[1] == moved[0] + 1
        assert moved[0] > 0
        assert "," not in original or sentence.count(",") == 2


def words(sentence):
    return sentence.replace(",", "").strip(".").split()


# The files of SentEval


def senteval(folder, name, lines):
    folder.mkdir(exist_ok=True)
    (folder / FILES[name]).write_text("".join(f"{line}\n" for line in lines))


def some_lines(count=12):
    return [
        f"{split}\t{'PAST' if place % 2 else 'PRES'}\tIt {split} {place} does n't rain ."
        for split in ("tr", "va", "te")
        for place in range(count)
    ]


def test_senteval(text, tmp_path):
    senteval(tmp_path / "probing", "Tense", some_lines())
    senteval(tmp_path, "SentLen", some_lines())
    found = dict(probes(ENGLISH, text, tmp_path, {"train": 6, "dev": 4, "test": 100}))
    assert {name: each.source for name, each in found.items() if isinstance(each, Examples)} == {
        "SentLen": "senteval",
        "WC": "corpus",
        "BShift": "corpus",
        "Tense": "senteval",
    }
    assert [len(each) for each in splits(found["Tense"]).values()] == [6, 4, 12]
    assert found["Tense"].test[1] == ("It te 1 doesn't rain.", "PAST")
    assert dict(probes(GERMAN, text, tmp_path, SIZES))["Tense"].reason.startswith("it needs")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tr\tPAST", "line 37: expected tr, va or te"),
        ("train\tPAST\tIt rained .", "line 37: expected tr, va or te"),
        ("tr\t\tIt rained .", "line 37: expected tr, va or te"),
        ("", "line 37: expected tr, va or te"),
    ],
)
def test_malformed_line(text, tmp_path, line, says):
    senteval(tmp_path, "Tense", [*some_lines(), line])
    with pytest.raises(UserError, match=says):
        dict(probes(ENGLISH, text, tmp_path, SIZES))


def test_truncated_file(text, tmp_path):
    senteval(tmp_path, "Tense", some_lines()[:24])
    with pytest.raises(UserError, match="no test examples"):
        dict(probes(ENGLISH, text, tmp_path, SIZES))
    senteval(tmp_path, "Tense", [line.replace("PAST", "PRES") for line in some_lines()])
    with pytest.raises(UserError, match="a single label"):
        dict(probes(ENGLISH, text, tmp_path, SIZES))


# Settings


def test_settings():
    of_toy = config.from_settings({"preset": "toy"})
    toy_settings = ANALYSIS_KINDS["probing"].identity(of_toy, chain.parse("toy/toy/s1/train"))
    assert toy_settings["train"] == of_toy.task("toy").probing.train
    assert toy_settings["senteval"] == []
    assert of_toy.task("multi30k-en-de").probing.whole == {
        "train": 10000,
        "dev": 1000,
        "test": 1000,
        "hidden": [50, 100, 200],
        "dropout": [0, 0.1, 0.2],
    }
    assert "probing" not in slices.of_text(of_toy, "toy")


def test_new_files_are_new_settings(tmp_path):
    senteval(tmp_path, "Tense", some_lines())
    settings = config.from_settings({"preset": "multi30k", "data_dir": str(tmp_path)})
    assert ANALYSIS_KINDS["probing"].identity(settings, chain.parse("multi30k-en-de/tiny-128/s1/train"))[
        "senteval"
    ] == ["Tense"]


# Rows that are kept


def test_a_probing_that_was_stopped_goes_on_with_the_next_probe(bench, monkeypatch):
    trained = chain.parse("micro/micro/s1/train")
    workplace = bench(str(trained))
    (workplace / "results" / "data" / "micro" / "text" / "train.src").touch()
    probed = []

    def interrupted(encoder, examples, settings):
        probed.append(examples)
        if len(probed) == 3:
            raise KeyboardInterrupt
        return {"accuracy": 50.0 + len(probed), "train": len(examples.train)}

    def accuracies_of(run):
        return probing.analyse(run, trained).numbers["accuracy"].tolist()

    monkeypatch.setattr(probing, "probe", interrupted)
    with workplace.inside():
        run = config.load()
        with pytest.raises(KeyboardInterrupt):
            probing.analyse(run, trained)
        begin(paths.state(paths.model(trained)), "of another digest")
        assert accuracies_of(run) == [51, 52, *range(54, 62)] and len(probed) == 11
        assert accuracies_of(run) == [51, 52, *range(54, 62)] and len(probed) == 11
        monkeypatch.setitem(ANALYSIS_KINDS, "probing", replace(ANALYSIS_KINDS["probing"], version=1000))
        assert accuracies_of(run) == list(range(62, 72))


def test_other_content_of_a_senteval_file_is_another_identity(tmp_path, monkeypatch):
    monkeypatch.setattr(probing.manifest, "digest_of", lambda *_: "model")
    monkeypatch.setattr(probing.manifest, "read", lambda _: {"digest": "text"})
    settings, trained = (
        config.from_settings({"preset": "multi30k", "data_dir": str(tmp_path)}),
        chain.parse("multi30k-en-de/tiny-128/s1/train"),
    )
    found = []
    for lines in (some_lines(), some_lines(), some_lines(13)):
        senteval(tmp_path, "Tense", lines)
        found.append(probing._identity(settings, trained))
    assert found[0] == found[1] != found[2]


# Classifiers


def features(examples, labels=4, width=16, seed=0):
    """Linearly separable: the label is where the largest of the first coordinates is, with a margin."""
    draw = torch.Generator().manual_seed(seed)
    vectors = torch.randn(examples, width, generator=draw)
    chosen = torch.arange(examples) % labels
    vectors[torch.arange(examples), chosen] += 5
    return Features(vectors * 3 + 7, chosen)


def accuracy(found, test):
    return float((found.predictions == test.labels).float().mean())


def test_separable_labels_are_learned():
    train, dev, test = features(400, seed=1), features(100, seed=2), features(400, seed=3)
    found = classify(train, dev, test.vectors, [20, 50], [0, 0.2], seed=1)
    assert accuracy(found, test) > 0.95
    again = classify(train, dev, test.vectors, [20, 50], [0, 0.2], seed=1)
    assert torch.equal(found.predictions, again.predictions)
    assert (found.hidden, found.dropout) == (again.hidden, again.dropout)


def test_the_epochs_are_bounded_by_the_examples_seen(monkeypatch):
    train, dev, test = features(400, seed=1), features(100, seed=2), features(50, seed=3)
    epochs = []
    predict = classifiers._Grid.predict

    def counted(grid, vectors):
        epochs.extend([1] if len(vectors) == 100 else [])
        return predict(grid, vectors)

    monkeypatch.setattr(classifiers._Grid, "predict", counted)
    monkeypatch.setattr(classifiers, "MOST_EXAMPLES", 1200)
    classify(train, dev, test.vectors, [20], [0], seed=1)
    assert len(epochs) == 3


def test_shuffled_labels_fall_to_chance():
    train, dev, test = features(400, seed=1), features(100, seed=2), features(400, seed=3)
    measured = []
    for seed in range(8):
        draw = torch.Generator().manual_seed(seed)
        train, dev = (
            Features(each.vectors, each.labels[torch.randperm(len(each.labels), generator=draw)])
            for each in (train, dev)
        )
        measured.append(accuracy(classify(train, dev, test.vectors, [20], [0], seed), test))
    assert np.mean(measured) == pytest.approx(0.25, abs=0.08)


def test_a_constant_coordinate_does_no_harm():
    train, dev, test = (
        Features(torch.cat([each.vectors, torch.ones(len(each.labels), 1)], 1), each.labels)
        for each in map(features, (300, 90, 90))
    )
    assert accuracy(classify(train, dev, test.vectors, [20], [0], 1), test) > 0.95


def test_wilson():
    assert wilson(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)
    assert wilson(9, 10) == pytest.approx((0.5958500, 0.9821238), abs=1e-6)
    low, high = wilson(0, 20)
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(0.1611252, abs=1e-6)
    assert wilson(20, 20)[1] == pytest.approx(1)


def test_majority():
    assert majority(
        Examples("gold", [("a", "x"), ("b", "y"), ("c", "x")], [], [("d", "x"), ("e", "y"), ("f", "y")])
    ) == pytest.approx(1 / 3)


# The encoder


def test_sentences_of_equal_length_run_together():
    assert list(batches([3, 5, 3, 3, 5])) == [[0, 2, 3], [1, 4]]
    assert [len(batch) for batch in batches([1023] * 9)] == [4, 4, 1]


@pytest.mark.parametrize("recipe", ["micro", "micro-lstm", "micro-lightconv", "micro-rnnsearch"])
def test_pooling_depends_on_the_sentence_alone(bench, recipe):
    """For every architecture, a sentence is encoded the same alone and with others, in any order."""
    trained = chain.parse(f"micro/{recipe}/s1/train")
    with bench(str(trained)).inside():
        settings = config.load()
        encoder = Encoder(settings, trained)
        lines = [example.source for example in toy.generate(12, seed=8)]
        together = encoder.mean_pooled(lines)
        assert together.dtype == torch.float32
        assert together.shape[0] == 12
        alone = torch.cat([encoder.mean_pooled([line]) for line in reversed(lines)]).flip(0)
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        assert len(torch.unique(together, dim=0)) == 12


# The table and the figure

BASE, CONTINUED = "toy/toy/s1/train", "toy/toy/s1/train/continue"
REJUVENATED = "toy/toy/s1/train/prune-local-50/retrain/rejuvenate-zero"


def pretend(address, accuracies, missing=()):
    """A finished model with a made-up analysis: accuracies rise by a tenth of a point from probe to probe."""
    model = chain.parse(address)
    for ancestor in model.ancestors():
        paths.manifest(ancestor).parent.mkdir(parents=True, exist_ok=True)
        paths.manifest(ancestor).write_text(
            json.dumps({"chain": str(ancestor), "updates": 10, "wall_seconds": 1})
        )
    rows = []
    for name, category in CATEGORIES.items():
        row = {"name": name, "category": category, "missing": "no such text" if name in missing else ""}
        if name not in missing:
            value = accuracies[category]
            row |= {
                "labels": 2,
                "test": 500,
                "accuracy": value,
                "low": value - 3,
                "high": value + 3,
                "chance": 50.0,
                "source": "gold",
            }
        rows.append(row)
    pd.DataFrame(rows).to_csv(paths.analysis(model, "probing"), index=False)


def item(name, seeds=(1,)):
    settings = config.from_settings({"preset": "toy", "papers": [f"wang2020/{name}"], "seeds": list(seeds)})
    return Run(settings).items[0], Measured(settings)


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pretend(BASE, {"lexical": 80.0, "syntactic": 60.0, "semantic": 70.0})
    pretend(REJUVENATED, {"lexical": 82.0, "syntactic": 60.0, "semantic": 63.0}, missing=["SOMO"])


def test_table(pretended):
    made = kinds.make(*item("table7"))
    assert made.table.headings == [
        "Category",
        "Task",
        "BASE",
        "BASE, published",
        "ConTrain",
        "ConTrain, published",
        "RejTrain",
        "RejTrain, published",
    ]
    lines = {tuple(line[:2]): line[2:] for line in made.table.cells}
    assert len(lines) == 13
    assert lines["lexical", "SentLen"] == ["80.00 ± 3.00", "91.35", "– (a)", "91.40", "82.00 ± 3.00", "91.54"]
    assert lines["lexical", "Avg."] == ["80.00 ± 2.12", "83.66", "– (a)", "83.69", "82.00 ± 2.12", "84.20"]
    assert lines["semantic", "SOMO"][4] == "– (b)"
    assert lines["semantic", "Avg. (c)"][0] == "70.00 ± 1.50"
    assert made.footnotes[0] == f"(a) {CONTINUED} has not run yet."
    assert made.footnotes[1] == "(b) no such text."
    assert made.footnotes[2].startswith("(c) Average over Tense, SubjNum, ObjNum, CoordInv;")
    assert made.table.ruled == {3, 7}
    assert any("gold labels" in sentence for sentence in made.sentences)
    assert not any("memory" in sentence for sentence in made.sentences)


def test_the_caption_says_that_probes_from_the_training_text_were_seen_in_training(pretended):
    file = paths.analysis(chain.parse(BASE), "probing")
    pd.read_csv(file).assign(source="corpus").to_csv(file, index=False)
    assert any(
        "was trained on these sentences of the training text" in each
        for each in kinds.make(*item("table7")).sentences
    )


def test_table_over_seeds(pretended):
    pretend(BASE.replace("s1", "s2"), {"lexical": 84.0, "syntactic": 60.0, "semantic": 70.0})
    numbers = accuracies(*item("table7", seeds=(1, 2))).set_index(["probe", "label"])
    assert numbers.loc[("WC", "BASE"), "accuracy"] == 82
    assert numbers.loc[("WC", "BASE"), "accuracy_sd"] == pytest.approx(math.sqrt(8))
    assert numbers.loc[("WC", "RejTrain"), "seeds"] == 1


def test_nothing_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = kinds.make(*item("table7"))
    assert all(cell == "– (a)" for line in made.table.cells for cell in line[2:3])
    assert kinds.make(*item("figure3")).figure is not None


def test_changes(pretended):
    numbers = changes(*item("figure3")).set_index(["label", "category"])
    assert set(numbers.index.get_level_values("label")) == {"ConTrain", "RejTrain"}
    ours = numbers.loc["RejTrain"]
    assert ours["change"].tolist() == pytest.approx([2.5, 0, -10])
    half = 100 * 82 / 80 * math.hypot(math.sqrt(4.5) / 80, math.sqrt(4.5) / 82)
    assert ours.loc["lexical", "half_width"] == pytest.approx(half)
    assert ours.loc["lexical", "change_published"] == pytest.approx(100 * (84.20 / 83.66 - 1))
    assert numbers.loc["ConTrain", "change"].isna().all()
    assert (numbers.loc["ConTrain", "missing"] == f"{CONTINUED} has not run yet").all()


def test_changes_over_seeds(pretended):
    pretend(BASE.replace("s1", "s2"), {"lexical": 80.0, "syntactic": 60.0, "semantic": 70.0})
    pretend(
        REJUVENATED.replace("s1", "s2"),
        {"lexical": 84.0, "syntactic": 60.0, "semantic": 63.0},
        missing=["SOMO"],
    )
    ours = changes(*item("figure3", seeds=(1, 2))).set_index(["label", "category"]).loc["RejTrain"]
    assert ours.loc["lexical", "change"] == pytest.approx(3.75)
    assert ours.loc["lexical", "half_width"] == pytest.approx(np.std([2.5, 5.0], ddof=1))
