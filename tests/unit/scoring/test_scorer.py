"""Rows of scores: sacreBLEU's own numbers, whole files, clear errors."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF, TER
from support.transformers import build

from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import evenly_spaced, read_lines, write_lines
from nmtprune.scoring import comet
from nmtprune.scoring.quality import bleu_chrf, tokenizer_of
from nmtprune.scoring.scorer import COLUMNS, Measures, Scorer, Translating, _lines
from nmtprune.scoring.significance import bleu


class Words:
    """Lines are words already."""

    def encode(self, side: str, line: str) -> str:
        return line

    def decode(self, pieces: str) -> str:
        return pieces


@pytest.fixture()
def sets(tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    write_lines(tmp_path / "a.src", ["w1 w2 w3 w4", "", "w5 </s> w6", "w7 w8 w9 w10 w11"])
    write_lines(tmp_path / "a.ref", ["w4 w3 w2 w1", "w1", "w6 w5", "w11 w10 w9 w8 w7"])
    return {"a": (tmp_path / "a.src", tmp_path / "a.ref"), "b": (tmp_path / "a.ref", tmp_path / "a.src")}


def test_a_row_per_set_and_what_it_counts(sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = Scorer(sets, Words(), "de").score(build(), "out")
    assert [row["set"] for row in rows] == ["a", "b"]
    for row in rows:
        assert tuple(row) == COLUMNS
        likelihoods = [float(line) for line in read_lines(Path(row["hypotheses"]).with_suffix(".nll"))]
        assert row["nll_per_token"] == pytest.approx(sum(likelihoods) / row["target_tokens"])
        assert row["perplexity"] == pytest.approx(math.exp(row["nll_per_token"]))
        assert len(read_lines(row["hypotheses"])) == row["sentences"] == 4
        assert (row["engine"], row["beam"]) == ("ctranslate2", 5)
        kept = Scorer(sets, Words(), "de").sentences(row["set"], "out")
        assert bleu(kept["bleu"].sum(0)) == pytest.approx(row["bleu"])
        assert kept["nll"].sum() / kept["tokens"].sum() == pytest.approx(row["nll_per_token"])
    assert rows[0]["hypotheses"] == "out/hypotheses/a.txt"
    assert rows[0]["target_tokens"] == 4 + 1 + 2 + 5 + 4
    assert read_lines(rows[0]["hypotheses"])[1] == ""


def test_measures_and_further_references_are_scored_and_kept_by_sentence(sets, tmp_path):
    write_lines(tmp_path / "a.ref.2", ["w4 w3 w1", "w1 w2", "w6 w5 w6", "w11 w10"])
    several = {"a": (*sets["a"], tmp_path / "a.ref.2")}
    scorer = Scorer(several, Words(), "de", measures=Measures(["chrfpp", "ter"]))
    row = scorer.score(build(), tmp_path / "out")[0]
    assert tuple(row) == (*COLUMNS, "chrfpp", "chrfpp_signature", "ter", "ter_signature")
    hypotheses = read_lines(tmp_path / "out" / "hypotheses" / "a.txt")
    references = [read_lines(file) for file in several["a"][1:]]
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF()), ("chrfpp", CHRF(word_order=2)), ("ter", TER())):
        assert row[name] == metric.corpus_score(hypotheses, references).score
        assert row[f"{name}_signature"] == str(metric.get_signature())
    kept = scorer.sentences("a", tmp_path / "out")
    shapes = {name: array.shape for name, array in kept.items()}
    assert shapes == {
        "nll": (4,),
        "tokens": (4,),
        "bleu": (4, 10),
        "chrf": (4, 18),
        "chrfpp": (4, 24),
        "ter": (4, 2),
    }
    assert row["target_tokens"] == Scorer(sets, Words(), "de").score(build(), tmp_path)[0]["target_tokens"]
    write_lines(tmp_path / "a.ref.2", ["w1"])
    with pytest.raises(UserError, match=r"test set `a` has 4 lines in .* and 1 in .*a\.ref\.2"):
        Scorer(several, Words(), "de")


def test_comet_scores_are_kept_by_sentence_with_its_signature(sets, tmp_path, monkeypatch):
    """By a stand-in: COMET's weights need a network."""
    monkeypatch.setattr(comet, "unavailable", lambda path: None)
    monkeypatch.setattr(comet, "scores", lambda *sides: [50.0, 0.1, 25.0, 30.0])
    monkeypatch.setattr(comet.versions, "of", lambda package: "2.2.6")
    model = tmp_path / "wmt22-comet-da" / "checkpoints" / "model.ckpt"
    scorer = Scorer({"a": sets["a"]}, Words(), "de", measures=Measures(comet_model=model))
    row = scorer.score(build(), tmp_path / "out")[0]
    assert row["comet"] == pytest.approx(26.275)
    assert row["comet_signature"] == "model:wmt22-comet-da|version:2.2.6"
    assert scorer.sentences("a", tmp_path / "out")["comet"].tolist() == [50.0, 0.1, 25.0, 30.0]
    hub = tmp_path / "models--Unbabel--wmt22-comet-da" / "snapshots" / "1a" / "checkpoints" / "model.ckpt"
    assert comet.signature(hub) == comet.signature(model)


@pytest.mark.parametrize("lines", [3, 4, 5, 6, 7, 8, 39])
def test_a_sample_covers_the_whole_set_whatever_its_size(lines, tmp_path):
    """Four of 6 or 7 lines were the first four."""
    file = tmp_path / "lines"
    write_lines(file, list(map(str, range(lines))))
    sampled = list(map(int, _lines("a", file, 4)))
    assert sampled == list(evenly_spaced(lines, 4)) and sampled[0] == 0
    assert lines <= 4 or sampled[-1] >= 0.7 * (lines - 1)


@given(st.integers(0, 80), st.integers(1, 80))
def test_places_are_evenly_spaced(total, most):
    places = list(evenly_spaced(total, most))
    gaps = [after - before for before, after in pairwise([*places, total])]
    assert len(places) == min(total, most) and max(gaps, default=0) - min(gaps, default=0) <= 1


def test_a_set_that_is_not_translated_keeps_its_likelihoods(sets, tmp_path):
    scorer = Scorer(sets, Words(), "de")
    rows = scorer.score(build(), tmp_path / "out", translated=["a"])
    kept = scorer.sentences("b", tmp_path / "out")
    assert set(kept) == {"nll", "tokens"} and rows[1]["hypotheses"] is None
    assert kept["nll"].sum() / kept["tokens"].sum() == pytest.approx(rows[1]["nll_per_token"])


def test_both_engines_give_the_same_perplexity_of_a_text_that_spells_special_symbols(sets, tmp_path):
    model = build()
    values = [
        Scorer(sets, Words(), "de", Translating(name)).score(model, tmp_path)[1]["perplexity"]
        for name in ("auto", "fairseq")
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_bleu_and_chrf_equal_sacrebleus_command_line(tmp_path):
    references = ["Der Hund läuft über die Wiese .", "Zwei Männer, ein Boot.", "Sie liest 3,5 Seiten."]
    hypotheses = ["Ein Hund läuft über die Wiese.", "Zwei Männer in einem Boot.", "Sie liest 3,5 Seiten."]
    write_lines(tmp_path / "hypotheses", hypotheses)
    write_lines(tmp_path / "references", references)
    ours = bleu_chrf(hypotheses, references, "de")
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        str(tmp_path / "references"),
        "-i",
        str(tmp_path / "hypotheses"),
    ]
    printed = subprocess.run(
        [*command, "-m", "bleu", "chrf", "-w", "6"], check=True, capture_output=True, text=True
    ).stdout
    theirs = {row["name"]: row for row in json.loads(printed)}
    for name, metric in (("bleu", "BLEU"), ("chrf", "chrF2")):
        assert ours[name] == pytest.approx(theirs[metric]["score"], abs=1e-5)
        assert ours[f"{name}_signature"] == theirs[metric]["signature"]


@pytest.mark.parametrize(
    ("language", "tokenizer"), [("zh", "zh"), ("zh_CN", "zh"), ("ja", "ja-mecab"), ("de", "13a")]
)
def test_the_target_language_chooses_the_tokeniser(language, tokenizer):
    assert tokenizer_of(language) == tokenizer


def test_bad_sets_are_one_clear_sentence(sets, tmp_path):
    write_lines(tmp_path / "short", ["w1"])
    with pytest.raises(UserError, match=r"test set `a` has 4 lines in .* and 1 in .*short"):
        Scorer({"a": (sets["a"][0], tmp_path / "short")}, Words(), "de")
    with pytest.raises(UserError, match=r"`.*missing` of test set `a` does not exist"):
        Scorer({"a": (tmp_path / "missing", tmp_path / "short")}, Words(), "de")


def test_a_line_longer_than_the_models_positions_is_named(tmp_path):
    write_lines(tmp_path / "long", ["w1", "w1 " * 1100])
    scorer = Scorer({"a": (tmp_path / "long", tmp_path / "long")}, Words(), "de")
    with pytest.raises(UserError, match="line 2 of the source side of test set `a` has 1100 pieces"):
        scorer.score(build(), tmp_path)


def test_scoring_a_transformer_imports_no_fairseq():
    code = (
        "import sys, nmtprune.scoring.scorer, nmtprune.scoring.significance, "
        "nmtprune.translation.ctranslate2.engine; "
        "assert not [name for name in sys.modules if name.split('.')[0] in ('fairseq', 'hydra', 'pandas')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
