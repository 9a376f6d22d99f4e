"""Example translations: which sentences are shown, what is marked in them, and how they are printed.

The translations are made up.
"""

import csv
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmtprune.experiment import chain, config, papers, paths
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_lines
from nmtprune.measurements.measurements import Measured
from nmtprune.reporting.kinds.examples import make, marked
from nmtprune.reporting.tables import latex, markdown
from nmtprune.scoring.quality import bleu_chrf

SETTINGS = config.from_settings({"preset": "toy"})
MODELS = {
    "BASE": "train",
    "ConTrain": "train/continue",
    "RejTrain": "train/prune-local-50/retrain/rejuvenate-zero",
}
SOURCES = [f"zdroj {number} a|b_c" for number in range(20)]
REFERENCES = [
    f"the {word} cat sees the old house number {number}"
    for number, word in enumerate(["red", "old", "small", "big"] * 5)
]
SPOILT = "nothing of the kind"
HYPOTHESES = {
    "BASE": [SPOILT if number == 3 else line for number, line in enumerate(REFERENCES)],
    "ConTrain": REFERENCES,
    "RejTrain": [
        SPOILT if number == 8 else line.replace("cat", "dog") if number == 5 else line
        for number, line in enumerate(REFERENCES)
    ],
}
texts = st.text(st.sampled_from("ab |_*&\u3042\u5927"), max_size=30)


def examples(wanted=None, tasks=("toy", "toy", "toy")):
    rows = tuple(
        papers.Row(
            label,
            "",
            (chain.parse(f"{task}/toy/s1/{steps}"),),
            {},
            False,
            None,
            {},
            "wmt17-zh-en",
            "base-zh-en",
        )
        for (label, steps), task in zip(MODELS.items(), tasks, strict=True)
    )
    column = (papers.Column("chrf", "chrF"),)
    wanted = wanted or {"random": 3, "largest": 2, "seed": 1}
    return papers.Item(
        "wang2020", "table5", "examples", "Title", "Caption.", (), {}, column, rows, (), None, (), wanted
    )


@pytest.fixture
def item(tmp_path, monkeypatch):
    """A working directory with the text, and three models that have been made and scored."""
    monkeypatch.chdir(tmp_path)
    task = SETTINGS.task("toy")
    write_lines(paths.text("toy") / f"test.{task.source}", SOURCES)
    write_lines(paths.text("toy") / f"test.{task.target}", REFERENCES)
    made = examples()
    for row in made.rows:
        model = row.chains[0]
        for ancestor in model.ancestors():
            paths.model(ancestor).mkdir(parents=True, exist_ok=True)
            paths.manifest(ancestor).write_text(json.dumps({"updates": 100}))
        hypotheses = paths.hypotheses(model, "test")
        write_lines(hypotheses, HYPOTHESES[row.label])
        score = {
            "chain": str(model),
            "set": "test",
            "hypotheses": str(hypotheses),
            **bleu_chrf(HYPOTHESES[row.label], REFERENCES),
        }
        with open(paths.scores(model), "w", newline="") as file:
            writer = csv.DictWriter(file, score)
            writer.writeheader()
            writer.writerow(score)
    return made


@given(texts, texts)
def test_marks_never_change_the_text(text, reference):
    assert str(marked(text, reference)) == text
    for segment, differs in marked(text, reference).segments:
        assert segment and (not differs or segment == segment.strip())


@given(texts)
def test_a_translation_that_is_the_reference_has_no_marks(text):
    assert not any(differs for _, differs in marked(text, text).segments)


@pytest.mark.parametrize(
    ("text", "reference", "words"),
    [
        ("a red dog sleeps", "a red cat sleeps", ["dog"]),
        ("two big dogs sleep here", "one cat sleeps here", ["two big dogs sleep"]),
        ("the cat", "the old cat", []),
        ("", "the cat", []),
        ("大犬はいる", "大猫はいる", ["犬"]),
    ],
)
def test_words_outside_the_alignment_are_marked(text, reference, words):
    assert [segment for segment, differs in marked(text, reference).segments if differs] == words


def test_the_table_shows_input_reference_and_translations_of_each_sentence(item):
    made = make(item, Measured(SETTINGS))
    shown = made.numbers[["example", "kind", "line"]].drop_duplicates()
    assert shown["kind"].tolist() == ["random"] * 3 + ["gain", "loss", "loss"]
    assert shown["line"].tolist()[3:] == [4, 9, 6]
    assert made.numbers["model"].tolist()[:5] == ["Input", "Reference", *MODELS]
    spoilt = made.numbers[(made.numbers["kind"] == "gain") & (made.numbers["model"] == "BASE")].iloc[0]
    assert spoilt["text"] == SPOILT and spoilt["chrf"] < 30
    assert "it is higher on 1, lower on 2 and the same on 17" in " ".join(made.sentences)
    table = made.table
    assert len(table.cells) == 6 * 5 and table.ruled == set(range(0, 30, 5))
    loss = next(line for line in table.cells[25:] if line[1] == "RejTrain")
    assert [segment for segment, differs in loss[2].segments if differs] == ["dog"]


def test_markdown_and_latex_escape_text_and_mark_the_differences(item):
    table = make(item, Measured(SETTINGS)).table
    text = markdown(table, "Table 5", [])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert r"zdroj 3 a\|b\_c" in text and "**dog**" in text
    assert {line.replace(r"\|", "").count("|") for line in lines} == {5}
    text = latex(table, "wang2020/table5", "Table 5", [])
    assert r"zdroj 3 a\textbar{}b\_c" in text and r"\textbf{dog}" in text and r"p{0.6\textwidth}" in text
    assert text.count(r"\midrule") == 6


def test_a_missing_model_is_told_and_the_others_are_shown(item):
    paths.scores(item.rows[2].chains[0]).unlink()
    made = make(item, Measured(SETTINGS))
    assert made.footnotes == [f"Left out: RejTrain; {item.rows[2].chains[0]} is not scored yet."]
    assert set(made.numbers["kind"]) == {"random"} and "RejTrain" not in set(made.numbers["model"])


def test_translations_of_another_text_are_left_out_and_told(item):
    model = item.rows[2].chains[0]
    write_lines(paths.hypotheses(model, "test"), [*HYPOTHESES["RejTrain"], "one more"])
    made = make(item, Measured(SETTINGS))
    (footnote,) = made.footnotes
    assert footnote.startswith(
        f"Left out: RejTrain; the translations of {model} are gone, or of another text than the test set is "
        "now"
    )
    assert "RejTrain" not in set(made.numbers["model"])


def test_nothing_there_is_an_empty_table_with_its_reasons(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = make(examples(), Measured(SETTINGS))
    assert made.numbers.empty and made.table.cells == []
    assert made.footnotes == [
        "Left out: BASE, ConTrain, RejTrain; toy/toy/s1/train has not run yet.",
        "The text of task toy is not there yet.",
    ]
    assert "BASE" not in markdown(made.table, "Table 5", [])


def test_an_empty_translation_is_said_to_be_empty(item):
    write_lines(paths.hypotheses(item.rows[0].chains[0], "test"), ["" for _ in REFERENCES])
    made = make(item, Measured(SETTINGS))
    assert [line[2] for line in made.table.cells if line[1] == "BASE"] == ["(empty)"] * len(
        set(made.numbers["example"])
    )


def test_rows_of_different_tasks_are_an_error(item):
    with pytest.raises(
        UserError,
        match=(
            "wang2020/table5: example translations are of one task, and its rows stand for toy, toy-reversed"
        ),
    ):
        make(examples(tasks=("toy", "toy", "toy-reversed")), Measured(SETTINGS))
