"""The smallest, fastest or cheapest model within some BLEU of the best one.

It is chosen on development data only.
"""

import csv

import pytest

from nmtprune.experiment import chain, paths
from nmtprune.experiment.run import Run
from nmtprune.export.choice import candidates, choose, eligible
from nmtprune.foundation.errors import UserError
from nmtprune.measurements.measurements import Measured
from nmtprune.speed.protocol import COLUMNS

DENSE, PRUNED = "micro/micro/s1/train", "micro/micro/s1/train/prune-global-50/retrain"
CONTINUED, INT8 = "micro/micro/s1/train/continue", "micro/micro/s1/train/int8-onnx"


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def scored(workplace, model, dev, test, macs=1e6, dense=4000, stored=""):
    sets = {"dev": dev, "test": test}
    facts = {"chain": model, "macs_per_word": macs, "size_dense": dense, "size_stored": stored}
    write(
        workplace.model(model) / "scores.csv",
        [{**facts, "set": name, "bleu": value} for name, value in sets.items()],
    )


def timed(workplace, *rows):
    """Rows of chain, engine, precision, words per second and bytes, in the usual way of translating."""
    blank = dict.fromkeys(COLUMNS, "")
    names = ("chain", "engine", "precision", "words_per_second", "size_on_disk")
    usual = {"shortlist": 0, "batch_size": 32}
    write(
        workplace / paths.speed("micro", "micro"),
        [blank | usual | dict(zip(names, row, strict=True)) | {"seconds": 1e6 / row[3]} for row in rows],
    )


@pytest.fixture
def measured(workplace):
    """Four models: one that is pruned, one that loses too much, one in 8 bits, and the best."""
    scored(workplace, DENSE, 30.0, 20.0)
    scored(workplace, PRUNED, 29.8, 19.0, macs=1e6, stored=2100)
    scored(workplace, CONTINUED, 29.5, 25.0, macs=1)
    scored(workplace, INT8, 29.75, 20.5, macs=5e5)
    timed(
        workplace,
        (DENSE, "ctranslate2", "float32", 1000, 4500),
        (DENSE, "onnx", "float32", 1100, 4400),
        (DENSE, "fairseq", "float32", 9999, 1),
        (INT8, "onnx", "float32", 9000, 10),
        (INT8, "onnx", "int8", 2200, 1200),
        (CONTINUED, "onnx", "float32", 8000, 1),
    )
    return workplace


def said(workplace, *arguments, **named):
    with workplace.inside():
        return choose(Run(workplace.config), *arguments, **named)


def test_each_criterion_names_its_best_model_and_how_to_export_it(measured):
    paragraphs = said(measured, 0.3).split("\n\n")
    assert "3 of 4 models lose less than 0.3 BLEU" in paragraphs[0]
    assert "the best on the development set" in paragraphs[0]
    assert paragraphs[0].splitlines()[1] == f"reference   {DENSE}"
    smallest, fastest, cheapest = paragraphs[1:]
    assert smallest.startswith(f"smallest    {INT8}\n")
    assert "0.00 MB in onnx, int8" in smallest
    assert f"python -m nmtprune export {INT8} exported/micro-smallest --engine onnx" in smallest
    assert fastest.startswith(f"fastest     {INT8}\n")
    assert "BLEU 29.75 dev (-0.25), 20.50 test" in fastest
    assert "2,200 words/s in onnx, 2.00 times the reference" in fastest
    assert "among 2 models; not measured for 1 more" in fastest
    assert cheapest.startswith(f"least MACs  {INT8}\n")
    assert cheapest.endswith(f"python -m nmtprune export {INT8} exported/micro-least-macs")


def test_beneath_each_choice_stands_whether_pruning_pays_and_what_zeros_buy(measured):
    """By speed the pruned model is as the dense one; by size it is the smallest of those not rounded."""
    timed(
        measured,
        (DENSE, "onnx", "float32", 1100, 4400),
        (PRUNED, "onnx", "float32", 1078, 4400),
    )
    (measured.model(INT8) / "scores.csv").unlink()
    smallest, fastest, cheapest = said(measured, 0.3).split("\n\n")[1:]
    beneath = [line.strip() for line in fastest.splitlines()[3:-1]]
    assert beneath == [
        "Pruning does not pay at this speed: this model is trained from scratch.",
        f"The best pruned model is {PRUNED}: BLEU 29.80 dev, 1,078 words/s in onnx.",
        "Zeros make files smaller, not translation faster: sparse models have 0.53 times the size and 0.98 "
        "times the speed of the same without (1 model).",
    ]
    assert "at this number of MACs: this model is trained" in cheapest and "Zeros" not in cheapest
    assert "at this size: this model is trained from scratch" in smallest  # files of engines are dense


def test_without_pruned_models_nothing_is_said_of_pruning(measured):
    (measured.model(PRUNED) / "scores.csv").unlink()
    assert "runing" not in said(measured, 0.3)


def test_a_model_that_loses_as_much_as_the_limit_is_not_chosen(measured):
    with measured.inside():
        found = candidates(Measured(measured.config), map(chain.parse, (DENSE, PRUNED, CONTINUED, INT8)))
    assert [each.dev for each in found] == [30.0, 29.8, 29.75, 29.5]
    assert [each.dev for each in eligible(found, found[0], 0.25)] == [30.0, 29.8]
    assert [each.dev for each in eligible(found, found[1], 0.1)] == [30.0, 29.8, 29.75]


def test_the_test_set_decides_nothing(measured):
    def names():
        return [line.split("/s1/")[1] for line in said(measured, 0.3).splitlines() if "export micro" in line]

    before = names()
    for model, dev in ((DENSE, 30.0), (PRUNED, 29.8)):
        scored(measured, model, dev, 99.0, stored=2100 if model == PRUNED else "")
    assert names() == before


def test_losses_can_be_counted_from_a_given_model(measured):
    found = said(measured, 0.3, against=chain.parse(CONTINUED))
    assert (
        "4 of 4 models lose less than 0.3 BLEU on the development set against the reference, as given"
        in found
    )
    assert f"smallest    {CONTINUED}\n" in found
    with pytest.raises(UserError, match=r"s2/train has no BLEU on the development set; score it"):
        said(measured, 0.3, against=chain.parse("micro/micro-untied/s2/train"))


def test_seeds_of_a_model_are_one_with_their_means(measured):
    scored(measured, DENSE.replace("s1", "s2"), 30.4, 21.0)
    found = said(measured, 0.3)
    assert f"reference   {DENSE.replace('s1', 's2')}\n" in found  # the better one
    assert "BLEU 30.20 dev, 20.50 test, means of 2 seeds" in found
    assert "1 of 4 models lose less than 0.3" in found


def test_without_speed_the_reason_is_given_and_sizes_are_as_stored(measured):
    (measured / paths.speed("micro", "micro")).unlink()
    found = said(measured, 0.3)
    assert "fastest     not known: speed on micro is not measured yet" in found
    assert f"smallest    {PRUNED}\n" in found
    assert "0.00 MB as a sparse file (exported it is dense)" in found
    assert "among 2 models; not measured for 1 more" in found  # in 8 bits, whose size is its engine's


def test_with_a_shortlist_only_the_way_that_was_scored_counts(measured, monkeypatch):
    monkeypatch.setattr(type(measured.config), "shortlist", lambda self, chain: "shortlist-50.npz")
    assert "fastest     not known: " in said(measured, 0.3)


def by(workplace, metric, scores):
    """Models with development scores by another metric than BLEU, which is the same of all."""
    for model, value in scores.items():
        rows = [
            {"chain": model, "set": name, "bleu": 20, metric: value, "size_dense": 10}
            for name in ("dev", "test")
        ]
        write(workplace.model(model) / "scores.csv", rows)


def test_quality_can_be_lost_by_another_metric_than_bleu(measured):
    by(measured, "chrf", {DENSE: 50.0, PRUNED: 49.0, CONTINUED: 49.8, INT8: 40.0})
    found = said(measured, 0.3, metric="chrf")
    assert "2 of 4 models lose less than 0.3 chrF on the development set" in found
    assert f"reference   {DENSE}\n{'':11} chrF 50.00 dev, 50.00 test" in found
    assert "chrF 49.80 dev (-0.20)" in found


@pytest.mark.parametrize("metric", ["ter", "perplexity"])
def test_less_is_better_by_ter_and_perplexity(measured, metric):
    by(measured, metric, {DENSE: 50.0, PRUNED: 50.2, CONTINUED: 49.9, INT8: 51.0})
    with measured.inside():
        found = candidates(
            Measured(measured.config), map(chain.parse, (DENSE, PRUNED, CONTINUED, INT8)), metric
        )
    assert [each.dev for each in found] == [49.9, 50.0, 50.2, 51.0]
    assert [each.dev for each in eligible(found, found[0], 0.25)] == [49.9, 50.0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"within": 0.0}, "--within 0 leaves no model"),
        ({"within": float("nan")}, "--within nan leaves no model"),
        (
            {"within": 0.3, "metric": "chrff"},
            "--metric `chrff` is not one of bleu, chrf, chrfpp, ter, spbleu, comet, perplexity; did you mean",
        ),
        (
            {"within": 0.3, "metric": "ter", "task": "micro"},
            r"no model of task micro has a TER on the development set; TER is not asked for \(setting",
        ),
        ({"within": 0.3, "task": "mikro"}, "unknown task `mikro`; did you mean `micro`?"),
        ({"within": 0.3, "task": "toy"}, "no model of task toy has a BLEU on the development set"),
        ({"within": 0.3, "task": "toy", "against": chain.parse(DENSE)}, "is of another task than --task toy"),
    ],
)
def test_mistakes_are_explained_in_a_sentence(measured, arguments, sentence):
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        said(measured, **arguments)


def test_the_command_prints_the_choice(measured):
    done = measured.nmtprune("choose", "--within", "0.3", "--task", "micro")
    assert done.returncode == 0, done.stderr
    assert f"export {INT8} exported/micro-fastest --engine onnx" in done.stdout
    wrong = measured.nmtprune("choose", "--within", "-1")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
