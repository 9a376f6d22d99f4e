"""Mistakes that can be known are reported before work is lost."""

import shutil

import pytest
import torch
import yaml
from support.marian import write as write_marian
from support.workplace import MICRO, Workplace

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import chain, paths
from nmtprune.experiment.run import Run
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_lines, write_lines
from nmtprune.planning import checks
from nmtprune.scoring import quality
from nmtprune.steps.lengths import check_lengths
from nmtprune.store.model import read_dictionary

TRAIN = "mine/micro/s1/train"


@pytest.fixture
def mine(tmp_path):
    """A workplace with an own folder and a task `mine` of plain files, for tests to change."""
    workplace = Workplace(tmp_path / "workplace")
    shutil.copytree(MICRO, workplace / "own")
    for language in ("en", "de", "ja", "en_simple"):
        write_lines(workplace / f"corpus.{language}", ["a small sentence of some words"] * 40)
    return workplace


def task(workplace, chains=(TRAIN,), settings=None, **changes):
    source = [{"files": "corpus.{lang}"}]
    said = {
        "title": "Mine",
        "source": "en",
        "target": "de",
        "train": source,
        "dev": source,
        "test": {"news": source},
    } | changes
    (workplace / "own" / "tasks" / "mine.yaml").write_text(yaml.safe_dump(said))
    workplace.configure(own="own", papers=[], chains=list(chains), **(settings or {}))


def recipe(workplace, **changes):
    file = workplace / "own" / "recipes" / "micro.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def of_run(workplace):
    with workplace.inside():
        config = workplace.config
        checks.of_run(config, Run(config).chains, Run(config).scored)


MISSING = ("mtdata", "thot", "tensorboard")
LSTM = {"name": "nmtprune_lstm", "encoder_layers": 1, "decoder_layers": 1, "embed_dim": 16}
TOY = {"toy": {"sentences": 4, "seed": 1}}
FILES = {"files": "corpus.{lang}"}
REFUSED = {
    "one language": (
        lambda place: task(place, target="en"),
        r"tasks/mine\.yaml: source and target are both `en`.*such as to `en_simple`",
    ),
    "a language without its tokeniser": (
        lambda place: task(place, target="ja"),
        r"tasks/mine\.yaml: BLEU for target language `ja` needs `pip install 'sacrebleu\[ja\]'`",
    ),
    "toy and files": (
        lambda place: task(place, train=[FILES, TOY]),
        r"tasks/mine\.yaml: train: a set has either only `toy` sources.* or none",
    ),
    "a library of sources": (
        lambda place: task(place, train=[{"mtdata": "Test-corpus-1-deu-eng"}]),
        r"tasks/mine\.yaml: train: `mtdata` needs a library that is not installed: pip install mtdata",
    ),
    "a packed file": (
        lambda place: (
            write_lines(place / "c.7z", []),
            task(place, train=[{"files": {"en": "c.7z", "de": "corpus.de"}}]),
        ),
        r"c\.7z is packed as \.7z",
    ),
    "an engine": (
        lambda place: (task(place), recipe(place, architecture=LSTM, decoding={"engine": "onnx"})),
        r"recipes/micro\.yaml: decoding: engine `onnx` runs only Transformers, and the recipe has "
        r"`nmtprune_lstm`; valid: auto, fairseq",
    ),
    "unknown words in ONNX Runtime": (
        lambda place: (task(place), recipe(place, decoding={"engine": "onnx", "replace_unknowns": True})),
        r"recipes/micro\.yaml: decoding: ONNX Runtime.* does not support replace_unknowns",
    ),
    "unknown words in 8 bits": (
        lambda place: (
            task(place, [f"{TRAIN}/int8-onnx"]),
            recipe(place, decoding={"replace_unknowns": True}),
        ),
        r"train/int8-onnx`: ONNX Runtime does not replace unknown words.*valid: int8-ctranslate2",
    ),
    "the aligner of a shortlist": (
        lambda place: (task(place), recipe(place, decoding={"shortlist": 10})),
        r"recipes/micro\.yaml: decoding: `shortlist` needs a library that is not installed: pip install "
        r"sil-thot",
    ),
    "half precision without a GPU": (
        lambda place: task(place, ["mine/micro/s1/train-half"]),
        r"schedules\.train-half: precision `fp16` needs a GPU, and `device` is cpu",
    ),
    "TensorBoard": (
        lambda place: task(place, settings={"tensorboard": True}),
        r"config: `tensorboard` needs a library that is not installed: pip install tensorboard",
    ),
    "references of no test set": (
        lambda place: task(place, references={"new": ["corpus.de"]}),
        r"tasks/mine\.yaml: references: unknown test set `new`; did you mean `news`\?",
    ),
    "a measure that is none": (
        lambda place: task(place, settings={"measures": ["chrf++"]}),
        r"config: measures\.0: \"chrf\+\+\" is not one of chrfpp, ter, spbleu; did you mean `chrfpp`\?",
    ),
    "COMET without its model": (
        lambda place: task(place, settings={"comet_model": "no/such/model.ckpt"}),
        r"config: comet_model: there is no file no/such/model\.ckpt; set it to null to score without COMET",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_configuration_alone_tells(mine, what, monkeypatch):
    find_spec = checks.importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *_: None if name in MISSING else find_spec(name)
    )
    monkeypatch.setattr(quality, "unavailable", without_mecab)
    make, said = REFUSED[what]
    make(mine)
    with pytest.raises(UserError, match=said) as error:
        of_run(mine)
    assert len(str(error.value).splitlines()) == 1


def without_mecab(language):
    return (
        f"BLEU for target language `{language}` needs `pip install 'sacrebleu[{language}]'`"
        if language in ("ja", "ko")
        else None
    )


def test_nothing_is_refused_of_what_is_right(mine):
    task(mine)
    of_run(mine)
    task(mine, target="en_simple")  # what a task of one language is told to do
    of_run(mine)
    with mine.inside():
        from nmtprune.data.corpus import make_corpus

        make_corpus(mine.config.task("mine"), paths.text("mine"), None, paths.DOWNLOADS)
        assert len(read_lines(paths.text("mine") / "train.en_simple")) == 40


def test_missing_tokenisers_are_known_without_references(monkeypatch):
    def refuse(**_):
        raise RuntimeError

    assert quality.unavailable("de") is None
    monkeypatch.setattr(quality, "BLEU", refuse)
    assert quality.unavailable("ko") == "BLEU for target language `ko` needs `pip install 'sacrebleu[ko]'`"


MARKED = {"sentencepiece": "▁the 9\n▁dog 3\ns 1\n", "bpe": "the 9\ndo@@ 3\ng 1\n", "words": "the 9\ndog 3\n"}
GIVEN = {"sentencepiece": "spm.model", "bpe": "codes", "words": None}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("held", MARKED)
def test_dictionaries_and_subwords_of_an_import_fit(mine, held, given):
    (mine / "data-bin").mkdir()
    for language in ("en", "de"):
        (mine / "data-bin" / f"dict.{language}.txt").write_text(MARKED[held], encoding="utf-8")
    for name in ("model.pt", "spm.model", "codes"):
        (mine / name).write_text("")
    imports = {"their": {"checkpoint": "model.pt", "dictionaries": "data-bin", "subwords": GIVEN[given]}}
    task(mine, ["mine/micro/s1/import-their"], {"imports": imports})
    if held in (given, "words"):
        return of_run(mine)
    said = (
        rf"imports\.their\.subwords: data-bin/dict\.en\.txt holds pieces of {held}, and "
        rf"{GIVEN[given] or 'null'} gives {given}; name the "
    )
    with pytest.raises(UserError, match=said):
        of_run(mine)


def test_a_dictionary_of_an_import_is_named(mine):
    (mine / "data-bin").mkdir()
    (mine / "model.pt").write_text("")
    task(
        mine,
        ["mine/micro/s1/import-their"],
        {"imports": {"their": {"checkpoint": "model.pt", "dictionaries": "data-bin"}}},
    )
    with pytest.raises(
        UserError,
        match=r"imports\.their\.dictionaries: there is no data-bin/dict\.en\.txt, the dictionary of `en`",
    ):
        of_run(mine)
    (mine / "data-bin" / "dict.en.txt").write_bytes("groß 3\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"dict\.en\.txt is not UTF-8"):
        of_run(mine)


def test_a_marian_model_is_checked_before_anything_runs(mine):
    write_marian(mine / "opus")
    task(mine, ["mine/micro/s1/import-opus"], {"imports": {"opus": {"marian": "opus"}}})
    of_run(mine)
    (mine / "opus" / "source.spm").rename(mine / "kept")
    with pytest.raises(UserError, match=r"imports\.opus\.marian: there is no opus/source\.spm"):
        of_run(mine)
    (mine / "kept").rename(mine / "opus" / "source.spm")
    (mine / "opus" / "config.json").write_text('{"model_type": "bart"}')
    with pytest.raises(UserError, match=r"opus/config\.json: model_type `bart`"):
        of_run(mine)


def test_a_marian_model_of_several_languages_is_told_which_one_to_write(mine):
    write_marian(mine / "opus", more=[">>deu<<", ">>nld<<"])
    for code, said in (
        (
            None,
            "imports.opus: the model writes several languages; .* `target_code`, such as >>deu<<, >>nld<<",
        ),
        (
            ">>den<<",
            "imports.opus.target_code: `>>den<<` is not a piece of the model; did you mean `>>deu<<`",
        ),
        (">>deu<<", None),
    ):
        given = {"marian": "opus"} | ({"target_code": code} if code else {})
        task(mine, ["mine/micro/s1/import-opus"], {"imports": {"opus": given}})
        if said is None:
            of_run(mine)
        else:
            with pytest.raises(UserError, match=said):
                of_run(mine)


def test_a_target_code_begins_each_source(mine):
    write_marian(mine / "opus", more=[">>deu<<"])
    given = {"type": "given", "name": "opus", "marian": str(mine / "opus"), "target_code": ">>deu<<"}
    subwords = Subwords.given(given, ("en", "de"), mine / "given")
    assert subwords.encode("source", "a b").split()[0] == ">>deu<<"
    assert ">>deu<<" not in subwords.encode("target", "a b")
    assert ">>deu<<" in read_dictionary(mine / "given" / "dict.en.txt")


def test_before_the_first_job_a_marian_models_weights_are_read(mine, monkeypatch):
    write_marian(mine / "opus")
    task(mine, ["mine/micro/s1/import-opus"], {"imports": {"opus": {"marian": "opus"}}})
    monkeypatch.setattr(checks.disk_usage, "check_room", lambda *_: None)
    with mine.inside():
        checks.before_jobs(Run(mine.config), Run(mine.config).chains, [], 1, here=True)
        (mine / "opus" / "target.spm").write_bytes(b"pieces")
        with pytest.raises(UserError, match=r"opus/target\.spm is not a SentencePiece model"):
            checks.before_jobs(Run(mine.config), Run(mine.config).chains, [], 1, here=True)
        shutil.copy(mine / "opus" / "source.spm", mine / "opus" / "target.spm")
        (mine / "opus" / "model.safetensors").write_bytes(b"weights")
        with pytest.raises(UserError, match=r"^opus/model\.safetensors is not a whole file of safetensors"):
            checks.before_jobs(Run(mine.config), Run(mine.config).chains, [], 1, here=True)


def test_before_the_first_job_imported_files_are_read(mine, monkeypatch):
    (mine / "data-bin").mkdir()
    for language in ("en", "de"):
        (mine / "data-bin" / f"dict.{language}.txt").write_text("the 9\n")
    torch.save({"model": {"a": torch.zeros(2)}}, mine / "model.pt")
    task(
        mine,
        ["mine/micro/s1/import-their"],
        {"imports": {"their": {"checkpoint": "model.pt", "dictionaries": "data-bin"}}},
    )
    monkeypatch.setattr(checks.disk_usage, "check_room", lambda *_: None)
    with mine.inside():
        of_run(mine)
        with pytest.raises(
            UserError, match=r"^model\.pt is not a fairseq checkpoint: it lacks `model` or its configuration"
        ):
            checks.before_jobs(Run(mine.config), Run(mine.config).chains, [], 1, here=True)


def test_before_the_first_job_spbleu_has_its_model_or_is_refused(mine, monkeypatch):
    asked = []

    def refuse(*places):
        asked.append(places)
        raise UserError("cannot download")

    monkeypatch.setattr(quality, "obtain_spbleu_model", refuse)
    monkeypatch.setattr(checks.disk_usage, "check_room", lambda *_: None)
    for measures in ([], ["spbleu"]):
        task(mine, settings={"measures": measures})
        with mine.inside():
            model = paths.model(chain.parse(TRAIN))
            checks.before_jobs(Run(mine.config), [], [model / paths.MANIFEST], 1, True)
            if measures:
                with pytest.raises(UserError, match="cannot download"):
                    checks.before_jobs(Run(mine.config), [], [model / paths.SCORES], 1, True)
    assert asked == [(None, paths.DOWNLOADS)]


def test_a_gpu_that_is_not_there(mine, monkeypatch):
    task(mine, settings={"device": "cuda"})
    monkeypatch.setattr(checks.disk_usage, "check_room", lambda *_: None)
    monkeypatch.setattr(checks.devices, "devices", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with mine.inside():
        checks.before_jobs(Run(mine.config), [], [], 1, here=False)  # a cluster's nodes may have one
        with pytest.raises(
            UserError, match="device: `cuda` is asked for and there is no GPU here; valid: auto, cpu"
        ):
            checks.before_jobs(Run(mine.config), [], [], 1, here=True)


MICRO_TRAIN = chain.parse("micro/micro/s1/train")
MANY = 1000


@pytest.mark.parametrize("side", [0, 1], ids=["source", "target"])
def test_a_line_beyond_the_positions_is_refused_before_training(studio, side):
    with studio.inside():
        from nmtprune.fairseq_bridge.binarise import lengths

        config, folder = studio.config, paths.binarised(studio.config.data_folder(MICRO_TRAIN))
        sizes = {split: lengths(folder, split, ("src", "tgt"))[side] for split in ("dev", "test")}
        longest = max(int(each.max()) for each in sizes.values())
        split = next(split for split, each in sizes.items() if each.max() == longest)
        positions = [MANY, MANY]
        positions[side] = longest
        check_lengths(config, MICRO_TRAIN, positions)
        positions[side] = longest - 1
        where = f"line {int(sizes[split].argmax()) + 1} of the {('source', 'target')[side]} side of `{split}`"
        with pytest.raises(
            UserError, match=f"{where} has {longest} pieces, .* the model has positions for {longest - 1}"
        ):
            check_lengths(config, MICRO_TRAIN, positions)


def test_training_pairs_beyond_the_limits(studio, capsys):
    with studio.inside():
        from nmtprune.fairseq_bridge.binarise import lengths

        config = studio.config
        source, target = lengths(paths.binarised(config.data_folder(MICRO_TRAIN)), "train", ("src", "tgt"))
        limit = int(sorted(source)[len(source) // 2])
        left_out = sum((source > limit) | (target > MANY))
        check_lengths(config, MICRO_TRAIN, [MANY, MANY], [limit, MANY])
        assert (
            f"{left_out} of 300 training pairs are left out: a side has more than {limit} (source) or {MANY} "
            "(target)" in capsys.readouterr().out
        )
        check_lengths(config, MICRO_TRAIN, [MANY, MANY], [MANY, MANY])
        assert capsys.readouterr().out == ""
        with pytest.raises(
            UserError,
            match=r"\.train: each of the 300 training pairs has a side of more than 1 pieces, .*batch_tokens",
        ):
            check_lengths(config, MICRO_TRAIN, [MANY, MANY], [1, 1])


def test_a_training_asks_before_its_first_update(bench):
    """fairseq ends in a traceback where all pairs are longer than a batch."""
    workplace = bench()
    shutil.copytree(MICRO, workplace / "own")
    file = workplace / "own" / "recipes" / "micro.yaml"
    whole = yaml.safe_load(file.read_text())
    whole["training"]["batch_tokens"] = 2
    file.write_text(yaml.safe_dump(whole))
    workplace.configure(own="own")
    with pytest.raises(
        UserError,
        match=r"line \d+ of the source side of `dev` has \d+ pieces, .* a batch takes 2 \(batch_tokens\)",
    ):
        workplace.make("micro/micro/s1/train")
