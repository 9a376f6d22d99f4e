"""An exported folder translates by itself: the project's own hypotheses, one line for each line."""

import json
import random
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.parallel_text import DE, EN, SETTINGS
from support.workplace import PATIENCE

from nmtprune.data.subwords import Subwords
from nmtprune.experiment import chain, paths
from nmtprune.experiment.library import WORKFLOW
from nmtprune.experiment.subwords import model_files, name_of
from nmtprune.export import translate
from nmtprune.export.folder import export
from nmtprune.export.readme import _scores
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.files import read_json, read_lines, write_table
from nmtprune.scoring import evaluation
from nmtprune.scoring.scorer import Scorer, Translating
from nmtprune.store.model import SPECIAL_SYMBOLS, of_chain, pieces_of, read_dictionary
from nmtprune.translation import batching as scoring
from nmtprune.translation.opening import module_of
from nmtprune.translation.shortlist import Shortlist

TEACHER, STUDENT = "micro/micro-teacher/s1/train", "micro/micro-student/s1/train"
ENGINES = ("ctranslate2", "onnx")
# runs the command with the project, its toolkits and what else it could lean on out of reach
ALONE = """
import json, runpy, sys
out_of_reach = ["nmtprune", "torch", "fairseq", "sacrebleu", "pandas", *json.loads(sys.argv.pop(1))]
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in out_of_reach:
            raise ImportError(f"{name} is out of reach")
sys.meta_path.insert(0, Blocked())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ODD = [
    b"",
    b"  \t ",
    "\u2028\u2029\u0085\u00a0\u3000".encode(),
    b"\x0b\x0c\x1c\x1d\x1e",
    b"a\x00b \x00",
    "la\u2028re\u0085vi".encode(),
    b"\xff\xfe bad \xed\xa0\x80 bytes \xf0\x9f",
    "zero\u200bwidth \u200d \ufeff joiner".encode(),
    "\ufeffa mark".encode(),
    "👩‍👩‍👧‍👦 🎉🇪🇸".encode(),
    "e\u0301 a\u0308\u0308\u0308".encode(),
    "שלום \u202eעולם مرحبا".encode(),
    b"carriage return\r",
    b"two\r\r",
    b"</s> <unk> <pad> <s>",
    b"</s>",
    "﷽ ﷺ ½ ﬁ".encode(),
    "日本語。漢字".encode(),
    b"@@ a@@ b@@ \xe2\x96\x81 \xe2\x96\x81a",
    b"&amp; &lt;b&gt; | [ ]",
    b"x" * 3000,
]


@pytest.fixture(scope="module")
def made(studio, tmp_path_factory):
    """Exported folders by engine, of a model that translates something, with its scores."""
    folder = tmp_path_factory.mktemp("exported")
    studio.make(TEACHER)
    with studio.inside():
        evaluation.score(studio.config, chain.parse(TEACHER))
        for engine in ENGINES:
            export(studio.config, chain.parse(TEACHER), folder / engine, engine)
    return folder


def hypotheses(workplace, model, engine, folder, shortlist=None):
    """What the project scores on the test set, in one engine."""
    with workplace.inside():
        named, made = workplace.config, chain.parse(model)
        files = {"test": tuple(paths.text("micro") / f"test.{side}" for side in ("src", "tgt"))}
        subwords, search = Subwords.load(named.data_folder(made)), named.recipe(made.recipe).decoding.search
        scorer = Scorer(files, subwords, "tgt", Translating(engine, "auto", search, shortlist))
        scorer.score(of_chain(named, made), folder, int8_engine=made.quantised_for)
    return (folder / "hypotheses" / "test.txt").read_bytes()


def run(folder, text, *arguments, blocked=()):
    """Exit status, output and errors of `translate`, alone."""
    command = [sys.executable, "-I", "-c", ALONE, json.dumps(blocked), str(folder / "translate"), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr.decode()


def source_of_test(workplace, side="src"):
    return (workplace / paths.text("micro") / f"test.{side}").read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_hypotheses_are_those_of_the_engine(made, studio, tmp_path, engine):
    status, out, errors = run(made / engine, source_of_test(studio))
    assert (status, errors) == (0, "")
    assert out == hypotheses(studio, TEACHER, engine, tmp_path)
    assert len(set(out.splitlines())) > 10


def test_hypotheses_are_those_that_were_scored(made, studio):
    assert (
        run(made / "ctranslate2", source_of_test(studio))[1]
        == (studio.model(TEACHER) / "hypotheses" / "test.txt").read_bytes()
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_ten_thousand_lines_of_all_kinds_give_ten_thousand(made, studio, engine):
    generator, words = random.Random(1), source_of_test(studio).split()
    plain = [b" ".join(generator.choices(words, k=generator.randint(1, 4))) for _ in range(400)]
    lines = [generator.choice(ODD if number % 5 == 0 else plain) for number in range(10_000)]
    lines[100] = lines[7000] = b" ".join(generator.choices(words, k=1000))
    blank = [not line.decode(errors="replace").strip() for line in lines]
    status, out, errors = run(
        made / engine, b"\n".join(lines), "--beam", "1", "--longest", "60"
    )  # the last line has no end
    assert status == 0
    assert out.endswith(b"\n")
    found = out.decode().split("\n")[:-1]
    assert len(found) == 10_000
    assert not any(line for line, empty in zip(found, blank, strict=True) if empty)
    assert all(len(line.splitlines()) <= 1 for line in found)
    assert errors.count("\n") == 1  # said once
    assert "translated in parts" in errors


@pytest.mark.parametrize("engine", ENGINES)
def test_a_line_longer_than_the_models_positions(made, studio, engine):
    """Also one whose hypothesis would be longer than these."""
    words = source_of_test(studio).split()
    line = b" ".join((words * 5)[:700])
    positions = read_json(made / engine / "config.json")["max_source_length"]
    assert positions == 1023
    status, out, errors = run(made / engine, line + b"\n" + line[: len(line) // 4] + b"\n\n", "--beam", "1")
    assert (status, out.count(b"\n")) == (0, 3)
    assert f"more than {positions} pieces" in errors


def random_shortlist(data):
    """A few random candidates for each piece of the micro vocabulary."""
    pieces = read_dictionary(data / "bin" / "dict.src.txt")
    generator = np.random.default_rng(1)
    targets = generator.integers(4, len(pieces), 6 * len(pieces))
    return Shortlist(
        np.array(pieces), np.array(pieces), 6 * np.arange(len(pieces) + 1), targets, np.arange(30)
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_with_a_shortlist_and_in_int8_hypotheses_are_the_projects_too(bench, tmp_path, engine):
    workplace = bench(TEACHER, f"{TEACHER}/int8-{engine}")
    model = chain.parse(f"{TEACHER}/int8-{engine}")
    with workplace.inside():
        file = paths.shortlist(workplace.config.data_folder(model), 50)
        random_shortlist(file.parent).save(file)
        assert export(workplace.config, model, tmp_path / "folder", shortlist=True) == engine
        file = file.absolute()
    said = read_json(tmp_path / "folder" / "config.json")
    assert (said["engine"], said["precision"], said["shortlist"]) == (engine, "int8", True)
    status, out, errors = run(tmp_path / "folder", source_of_test(workplace))
    assert (status, errors) == (0, "")
    assert out == hypotheses(workplace, str(model), engine, tmp_path, file)


def test_the_usual_engine_is_the_one_that_takes_the_model(bench, tmp_path):
    workplace = bench(STUDENT, "micro/micro/s1/train")
    with workplace.inside():
        assert (
            export(workplace.config, chain.parse(STUDENT), tmp_path / "student", shortlist=False) == "onnx"
        )  # an SSRU
        assert (
            export(workplace.config, chain.parse("micro/micro/s1/train"), tmp_path / "a" / "transformer")
            == "ctranslate2"
        )
    for folder in (tmp_path / "student", tmp_path / "a" / "transformer"):
        assert run(folder, b"a\n\nb")[1].count(b"\n") == 3
    readme = (tmp_path / "student" / "README.md").read_text()
    assert STUDENT in readme
    assert read_json(workplace.model(STUDENT) / "manifest.json")["digest"] in readme
    assert "before it was scored" in readme


def test_the_folder_says_what_it_needs_in_the_versions_of_the_lock(made):
    locked = set(read_lines(WORKFLOW.parent / "envs" / "requirements.txt"))
    packages = {engine: read_lines(made / engine / "requirements.txt") for engine in ENGINES}
    assert [[line.split("==")[0] for line in lines] for lines in packages.values()] == [
        ["ctranslate2", "sentencepiece"],
        ["numpy", "onnxruntime", "sentencepiece"],
    ]
    assert all(line in locked for lines in packages.values() for line in lines)
    rows = [line for line in (made / "onnx" / "README.md").read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| set", "| dev", "| test"]


def test_what_cannot_be_exported_leaves_nothing(bench, tmp_path):
    convolutions = "micro/micro-lightconv/s1/train"
    workplace = bench("micro/micro/s1/train", convolutions)
    model = chain.parse("micro/micro/s1/train")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    mistakes = [
        ((model, tmp_path / "full"), "full` is there already; name a new folder"),
        ((model, tmp_path / "file"), "file` is there already; name a new folder"),
        ((model, tmp_path / "new", "onxx"), "unknown engine `onxx`; did you mean `onnx`?"),
        ((model, tmp_path / "new", "onnx", "int4"), "unknown precision `int4`; did you mean `int8`?"),
        (
            (model, tmp_path / "new", "onnx", None, True),
            "joint-200/shortlist-50.npz: make it first",
        ),
        (
            (chain.parse(convolutions), tmp_path / "new"),
            "micro-lightconv/s1/train runs in no engine that can be exported",
        ),
        ((chain.parse("micro/micro/s2/train"), tmp_path / "new"), "make it first"),
    ]
    with workplace.inside():
        for arguments, sentence in mistakes:
            with pytest.raises(UserError, match=re.escape(sentence)) as raised:
                export(workplace.config, *arguments)
            assert "\n" not in str(raised.value)
        (tmp_path / "empty").mkdir()
        export(workplace.config, model, tmp_path / "empty", "ctranslate2")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "file", "full", "workplace"]
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_export_that_fails_on_its_way_leaves_nothing(bench, tmp_path, monkeypatch):
    workplace = bench("micro/micro/s1/train")
    monkeypatch.setattr("nmtprune.export.folder.readme", lambda *arguments: 1 / 0)
    with workplace.inside(), pytest.raises(ZeroDivisionError):
        export(workplace.config, chain.parse("micro/micro/s1/train"), tmp_path / "folder")
    assert [file.name for file in tmp_path.iterdir()] == ["workplace"]


def test_the_command_exports(bench, tmp_path):
    workplace = bench("micro/micro/s1/train")
    done = workplace.nmtprune(
        "export", "micro/micro/s1/train", str(tmp_path / "folder"), "--engine", "onnx", "--no-shortlist"
    )
    assert done.returncode == 0, done.stderr
    assert "translates in onnx" in done.stdout
    assert (tmp_path / "folder" / "translate").stat().st_mode & 0o111 == 0o111


def test_a_package_that_is_missing_is_named(made):
    status, out, errors = run(made / "onnx", b"a\n", blocked=["sentencepiece"])
    assert (status, out, errors.count("\n")) == (2, b"", 1)
    assert "pip install -r " in errors


@pytest.mark.parametrize("option", ["--beam=0", "--batch=-1", "--threads=two", "--nothing=1"])
def test_a_wrong_option_is_explained(made, option):
    status, out, errors = run(made / "onnx", b"a\n", option)
    assert (status, out) == (2, b"")
    assert option.split("=")[0] in errors
    assert "Traceback" not in errors


def started(folder, *arguments):
    command = [sys.executable, str(folder / "translate"), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize("engine", ENGINES)
def test_translations_come_while_lines_come_and_an_interrupt_is_silent(made, engine):
    with started(made / engine, "--buffer", "1") as process:
        process.stdin.write(b"a\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == -signal.SIGINT
        assert process.stderr.read() == b""


def test_a_reader_that_goes_away_is_no_error(made):
    with started(made / "onnx", "--buffer", "1") as process:
        process.stdin.write(b"a\n")
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"a\n" * 100)
        process.stdin.close()
        assert process.wait(timeout=PATIENCE) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_an_output_without_room_is_told_in_one_sentence(made):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, str(made / "onnx" / "translate")],
            input=b"a\n" * 3,
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert (done.returncode, done.stderr) == (
        1,
        b"translate: the output cannot be written: No space left on device\n",
    )


@pytest.mark.parametrize("chosen", SETTINGS, ids=name_of)
def test_subwords_are_the_projects(chosen, tmp_path):
    for language, lines in (("en", EN), ("de", DE)):
        (tmp_path / f"train.{language}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    project = Subwords.train(chosen, tmp_path, ("en", "de"), tmp_path / "data")
    about = {
        "type": chosen["type"],
        "moses": project.settings["moses"],
        "languages": ["en", "de"],
        "files": model_files(project.settings),
    }
    exported = translate.Subwords(tmp_path / "data", about)
    for line in [*EN, *(translate.text_of(line) for line in ODD)]:
        assert exported.encode(line) == pieces_of(project.encode("source", line))
    for line in DE:
        pieces = project.encode("target", line)
        assert exported.decode(pieces.split()) == project.decode(pieces) == line
    assert exported.decode([*project.encode("target", DE[0]).split(), "<unk>"]) == project.decode(
        project.encode("target", DE[0]) + " <unk>"
    )


def test_a_shortlists_candidates_are_the_projects(studio, tmp_path):
    given = random_shortlist(studio / "results" / "data" / "micro" / "sentencepiece-joint-200")
    given.save(tmp_path / "shortlist.npz")
    exported = translate.Shortlist(tmp_path / "shortlist.npz")
    for sources in (
        [[]],
        [["<unk>", "</s>"]],
        [given.source_pieces[5:9].tolist(), ["no such piece", given.source_pieces[40]]],
    ):
        assert exported.candidates(sources).tolist() == given.candidates(sources).tolist()


@given(st.lists(st.integers(0, 400), max_size=300))
def test_batches_are_the_projects(lengths):
    project = scoring.batches([index for index, length in enumerate(lengths) if length], lengths)
    exported = translate.batches(lengths, scoring.BATCH_SENTENCES, scoring.BATCH_PIECES)
    assert list(exported) == list(project)


@given(st.text(alphabet='ab. \u3000é!"', max_size=200), st.integers(1, 30))
def test_parts_are_short_enough_and_lose_nothing(text, longest):
    parts = translate.in_parts(text, list, longest)
    assert "".join("".join(part) for part in parts) == text
    assert all(len(part) <= longest for part in parts)
    assert len(parts) == 1 or len(text) > longest


class Echo:
    """Stands in for subwords and engine: words are pieces, and translate as themselves."""

    encode, decode = staticmethod(str.split), staticmethod(" ".join)

    def __call__(self, sources, max_length):
        assert all(0 < len(source) <= 3 for source in sources)
        return sources


@given(st.lists(st.text(alphabet="ab \u2028", max_size=12), max_size=40))
def test_translations_come_in_the_order_of_their_lines(lines):
    search = {"max_len_a": 1.0, "max_len_b": 0}
    about = {"search": search, "max_source_length": 3, "batch": {"sentences": 4, "pieces": 12}}
    assert translate.Translation(about, Echo, Echo()).lines(lines) == [
        " ".join(line.split()) for line in lines
    ]


def test_parts_end_at_sentences_then_at_spaces():
    text = "one two three. four five! six seven eight"
    assert ["".join(part) for part in translate.in_parts(text, list, 30)] == [
        "one two three. ",
        "four five! six seven eight",
    ]
    assert ["".join(part) for part in translate.in_parts("one two three four", list, 10)] == [
        "one two ",
        "three four",
    ]
    assert ["".join(part) for part in translate.in_parts("aa aaaaa a a", list, 9)] == [
        "aa ",
        "aaaaa a a",
    ]  # not in a word
    assert ["".join(part) for part in translate.in_parts("abcdef", list, 3)] == ["abc", "def"]


def test_special_symbols_are_the_projects():
    assert translate.SPECIAL_SYMBOLS == SPECIAL_SYMBOLS


@pytest.mark.parametrize("engine", ENGINES)
def test_a_gpu_that_is_not_there_is_told_in_one_sentence(made, engine):
    if module_of(engine).RUNTIME.has_gpu():
        pytest.skip("there is a GPU that the engine can use")
    status, out, errors = run(made / engine, b"a\n", "--device", "cuda")
    assert (status, out, errors.count("\n")) == (2, b"", 1)
    assert "--device: there is no GPU here that" in errors and errors.endswith("can use; valid: cpu\n")


def test_the_readme_has_all_measures_that_the_model_was_scored_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    of_all = {"engine": "onnx", "precision": "float32", "shortlist": "", "beam": 5}
    names = ("bleu", "chrf", "ter", "comet")
    scores = {name: 20.5 + place for place, name in enumerate(names)}
    signatures = {f"{name}_signature": f"nrefs:2|of:{name}" for name in names}
    model = chain.parse("toy/toy/s1/train")
    rows = [{"chain": str(model), "set": name, **scores, **signatures, **of_all} for name in ("dev", "test")]
    write_table(paths.scores(model), rows)
    assert _scores(model).splitlines() == [
        "| set | BLEU | chrF | TER | COMET |",
        "|---|---|---|---|---|",
        "| dev | 20.50 | 21.50 | 22.50 | 23.50 |",
        "| test | 20.50 | 21.50 | 22.50 | 23.50 |",
        "",
        "BLEU `nrefs:2|of:bleu`, chrF `nrefs:2|of:chrf`, TER `nrefs:2|of:ter`, COMET `nrefs:2|of:comet`, "
        "measured in onnx, float32, beam 5",
    ]
