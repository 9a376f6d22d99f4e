"""Measures by sacreBLEU: its own numbers and signatures, with one reference and with several."""

import random

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.tokenizers import tokenizer_spm
from sentencepiece import SentencePieceTrainer

from nmtprune.experiment import schemas
from nmtprune.experiment.metrics import METRICS, ON_REQUEST
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import write_lines
from nmtprune.scoring import quality
from nmtprune.scoring.quality import ALWAYS, MEASURES, Quality

WORDS = [*"abcdefgh", "Hund", "Hunde", "läuft", "laufen", "(und)", "3,5", "Wiese."]
DIRECT = {
    "bleu": lambda: BLEU(tokenize="13a"),
    "chrf": CHRF,
    "chrfpp": lambda: CHRF(word_order=2),
    "ter": TER,
    "spbleu": lambda: BLEU(tokenize="flores200"),
}
SIGNED = {
    "bleu": "case:mixed|eff:no|tok:13a|smooth:exp",
    "chrf": "case:mixed|eff:yes|nc:6|nw:0|space:no",
    "chrfpp": "case:mixed|eff:yes|nc:6|nw:2|space:no",
    "ter": "case:lc|tok:tercom|norm:no|punct:yes|asian:no",
    "spbleu": "case:mixed|eff:no|tok:flores200|smooth:exp",
}


def lines(seed, count=60):
    words = random.Random(seed)
    return [" ".join(words.choices(WORDS, k=words.randint(3, 12))) for _ in range(count)]


def near(text, seed):
    """The lines with a third of their words replaced."""
    words = random.Random(seed)
    return [
        " ".join(words.choice(WORDS) if words.random() < 0.3 else word for word in line.split())
        for line in text
    ]


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """A small SentencePiece model in the place of FLORES-200's."""
    folder = tmp_path_factory.mktemp("pieces")
    write_lines(folder / "text", lines(7, 300))
    SentencePieceTrainer.train(
        input=str(folder / "text"), model_prefix=str(folder / "spm"), vocab_size=40, minloglevel=2
    )
    return folder / "spm.model"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder in which sacreBLEU keeps its files."""
    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path / "sacrebleu"))
    return tmp_path / "sacrebleu"


@pytest.fixture
def pieces(home, stand_in):
    file = quality.spbleu_model()
    file.parent.mkdir(parents=True)
    file.write_bytes(stand_in.read_bytes())
    return file


def test_measures_on_request_are_those_of_the_setting_and_of_the_registry():
    assert (*ALWAYS, *ON_REQUEST) == tuple(MEASURES)
    assert schemas.read("config")["properties"]["measures"]["items"]["enum"] == list(ON_REQUEST)
    assert [METRICS[name].title for name in MEASURES] == ["BLEU", "chrF", "chrF++", "TER", "spBLEU"]


@pytest.mark.parametrize("count", [1, 3])
def test_scores_and_signatures_are_those_of_sacrebleu_called_directly(count, pieces):
    references = [lines(1), *(near(lines(1), seed) for seed in range(2, count + 1))]
    hypotheses = near(lines(1), 10)
    found = Quality(references[0], "de", references[1:], ON_REQUEST).scores(hypotheses)
    assert list(found) == [name for measure in MEASURES for name in (measure, f"{measure}_signature")]
    for measure, make in DIRECT.items():
        metric = make()
        assert found[measure] == metric.corpus_score(hypotheses, references).score
        assert found[f"{measure}_signature"] == str(metric.get_signature())
        assert found[f"{measure}_signature"].startswith(f"nrefs:{count}|{SIGNED[measure]}|version:")


def test_a_second_reference_raises_bleu_and_chrf_and_adds_no_edits(pieces):
    one, two = (
        Quality(lines(1), "de", more, ON_REQUEST).scores(near(lines(1), 10))
        for more in ([], [near(lines(1), 2)])
    )
    assert two["bleu"] > one["bleu"] and two["chrf"] > one["chrf"] and two["ter"] <= one["ter"]


def test_only_what_is_asked_for_is_scored():
    found = Quality(lines(1), "de", measures=["ter"]).scores(lines(1))
    assert [name for name in found if "signature" not in name] == ["bleu", "chrf", "ter"]
    assert (found["bleu"], found["ter"]) == (pytest.approx(100), 0)


def test_edits_of_text_without_spaces_are_between_characters():
    found = Quality(["我喜欢猫"], "zh_CN", measures=["ter"]).scores(["我喜欢狗"])
    assert found["ter"] == 25
    assert "norm:yes|punct:yes|asian:yes" in found["ter_signature"]


def test_references_of_unequal_length_are_refused():
    with pytest.raises(UserError, match="references of one set differ in length: 60 lines and 59"):
        Quality(lines(1), "de", [lines(2), lines(3)[1:]])


def test_spbleus_model_is_taken_from_data_dir(home, stand_in, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "flores200sacrebleuspm").write_bytes(stand_in.read_bytes())
    with pytest.raises(UserError, match=r"spBLEU: there is no .*flores200sacrebleuspm"):
        Quality(lines(1), measures=["spbleu"])
    quality.obtain_spbleu_model(tmp_path / "data", tmp_path / "downloads")
    assert quality.spbleu_model() == home / "models" / "flores200sacrebleuspm"
    assert Quality(lines(1), measures=["spbleu"]).scores(lines(1))["spbleu"] == pytest.approx(100)


def test_spbleu_without_its_model_and_a_network_is_refused_in_one_sentence(home, tmp_path, monkeypatch):
    import requests

    def get(*_, **__):
        raise requests.ConnectionError

    monkeypatch.setattr(requests, "get", get)
    said = r"^cannot download https://\S+ \(ConnectionError\): .* `data_dir` names$"
    with pytest.raises(UserError, match=said):
        quality.obtain_spbleu_model(None, tmp_path / "downloads")
    assert not home.exists()


def test_a_file_that_is_no_model_is_named(pieces):
    pieces.write_text("no model")
    with pytest.raises(UserError, match="is not the SentencePiece model of spBLEU: remove it"):
        quality.obtain_spbleu_model(None, pieces.parent)
