"""What counts as current: content decides, whatever the dates, and failed jobs leave nothing current."""

import os
import shutil
import time
from pathlib import Path

import pytest

from nmtprune.experiment import config as configuration
from nmtprune.experiment import paths
from nmtprune.experiment.run import Run
from nmtprune.foundation.files import read_json, write_json, write_text
from nmtprune.measurements.measurements import Measured
from nmtprune.store import current

DATA = paths.RESULTS / "data/mine"
TEXT, ENCODED = DATA / "text/manifest.json", DATA / "words/manifest.json"
MODEL = paths.MODELS / "mine/small/s1/train/manifest.json"
SCORES = MODEL.with_name("scores.csv")
DAY = 86400


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A finished run: text from a corpus, data from text and a dictionary, then a model and its scores."""
    monkeypatch.chdir(tmp_path)
    write_text("corpus.en", "a sentence\n")
    write_text("dict.en.txt", "a 1\n")
    make_all()
    assert current.outdated() == set()


def make(made, *read, text):
    with current.making(made, list(read)):
        write_text(made, text) if made.suffix == ".csv" else write_json(made, text)


def make_all():
    corpus = Path("corpus.en")
    make(TEXT, corpus, text={"digest": corpus.read_text(), "counts": {}})
    make(ENCODED, TEXT, Path("dict.en.txt"), text={"digest": "training", "text": corpus.read_text()})
    make(
        MODEL, ENCODED, text={"chain": "mine/small/s1/train", "digest": "model", "wall_seconds": time.time()}
    )
    make(SCORES, ENCODED, MODEL, text="bleu\n30\n")


def replace(file, text, age):
    """Another content, dated so many seconds ago (or in the future), as `cp -p` or `rsync -a` leave it."""
    file = os.fspath(file)
    write_text(f"{file}.new", text)
    os.utime(f"{file}.new", (time.time() - age,) * 2)
    os.replace(f"{file}.new", file)


ALL, AFTER_TEXT = {TEXT, ENCODED, MODEL, SCORES}, {ENCODED, MODEL, SCORES}


@pytest.mark.parametrize("age", [2000 * DAY, 0, -2000 * DAY])
@pytest.mark.parametrize("file", ["corpus.en", "dict.en.txt"])
def test_other_content_is_noticed_whatever_its_date(file, age):
    replace(file, "b sentence\n", age)
    assert current.outdated() == (ALL if file == "corpus.en" else AFTER_TEXT)


def test_other_content_of_the_same_size_and_date_is_noticed():
    status = os.stat("corpus.en")
    with open("corpus.en", "r+") as file:
        file.write("b")
    os.utime("corpus.en", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert current.outdated() == ALL


@pytest.mark.parametrize("age", [2000 * DAY, -2000 * DAY])
def test_dates_alone_say_nothing(age):
    for file in ("corpus.en", "dict.en.txt", TEXT, ENCODED, MODEL, SCORES):
        os.utime(file, (time.time() - age,) * 2)
    assert current.outdated() == set()


def test_a_moved_run_is_as_current_as_before(tmp_path, monkeypatch):
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    monkeypatch.chdir(tmp_path.with_name("copy"))
    assert current.outdated() == set()


def fail(made, *read, gone=True):
    if gone:
        made.unlink()  # as Snakemake does before a job
    with pytest.raises(KeyError), current.making(made, read):
        raise KeyError("it fails")


@pytest.mark.parametrize(
    ("made", "after"), [(TEXT, AFTER_TEXT), (ENCODED, {MODEL, SCORES}), (MODEL, {SCORES})]
)
def test_nothing_is_current_that_was_made_from_what_has_failed(made, after):
    fail(made)
    assert current.outdated() == after


def test_a_job_that_removes_its_old_file_and_fails_leaves_nothing_current():
    with pytest.raises(KeyError), current.making(TEXT, []):
        TEXT.unlink()
        raise KeyError
    assert current.outdated() == AFTER_TEXT


def test_a_job_that_fails_and_keeps_its_old_file_whole_keeps_its_note():
    fail(SCORES, gone=False)
    assert current.outdated() == set()
    replace(MODEL, '{"chain": "", "digest": "another model"}', 2000 * DAY)
    assert current.outdated() == {SCORES}


def test_a_killed_job_is_as_one_that_has_failed():
    ENCODED.unlink()
    current.making(ENCODED, []).__enter__()
    assert current.outdated() == {MODEL, SCORES}


def test_the_old_content_taken_back_makes_everything_current_again():
    replace("corpus.en", "b sentence\n", 0)
    assert current.outdated() == ALL
    replace("corpus.en", "a sentence\n", 0)
    assert current.outdated() == set()


def test_what_was_removed_to_save_space_is_not_missed_unless_it_would_be_made_of_something_else():
    shutil.rmtree(TEXT.parent)
    assert current.outdated() == set()
    replace("corpus.en", "b sentence\n", 2000 * DAY)
    assert current.outdated() == ALL


def test_a_corpus_that_is_gone_tells_nothing():
    os.unlink("corpus.en")
    assert current.outdated() == set()


def test_a_model_is_its_identity_and_data_are_all_their_files():
    write_json(MODEL, read_json(MODEL) | {"wall_seconds": 7.0})
    assert current.outdated() == set()
    write_json(ENCODED, read_json(ENCODED) | {"files": {"test.en.bin": "another test set"}})
    assert current.outdated() == {MODEL, SCORES}


def test_a_damaged_manifest_is_not_what_it_was():
    MODEL.write_text("{")
    assert current.outdated() == {SCORES}


def test_a_change_while_a_job_reads_is_noticed_afterwards():
    with current.making(TEXT, [Path("corpus.en")]):
        replace("corpus.en", "b sentence\n", 0)
    assert current.outdated() == ALL


def test_a_file_that_a_verb_writes_elsewhere_has_no_note(tmp_path):
    for made in (tmp_path / "speed.csv", Path("speed.csv")):
        make(made, Path("corpus.en"), text="words_per_second\n")
    assert set(current.notes()) == ALL


def test_a_change_while_a_file_is_read_is_noticed_afterwards(monkeypatch):
    checksum = current.sha256_of

    def read_and_replace(file):
        read = checksum(file)
        replace(file, "b sentence\n", 0)
        return read

    current._content.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(current, "sha256_of", read_and_replace)
        make(TEXT, Path("corpus.en"), text=read_json(TEXT))
    assert current.outdated() == ALL


def test_what_has_no_note_is_left_to_snakemake():
    shutil.rmtree(paths.ORIGINS)
    replace("corpus.en", "b sentence\n", 0)
    assert current.outdated() == set()


def test_what_has_no_note_is_not_current_once_a_run_wants_to_make_it_again():
    shutil.rmtree(paths.ORIGINS)
    current.to_be_made_again(ENCODED)
    assert current.outdated() == {ENCODED}
    make_all()
    assert current.outdated() == set()


def test_a_torn_note_makes_its_file_again():
    paths.origin(MODEL).write_text('{"resul')
    assert current.outdated() == {MODEL, SCORES}


def test_files_are_read_only_where_their_status_has_changed(monkeypatch):
    read = []
    monkeypatch.setattr(current, "sha256_of", lambda file: read.append(str(file)) or "checksum")
    current._content.cache_clear()
    assert current.outdated() == set() and not read
    os.utime("dict.en.txt", (1, 1))
    assert current.outdated() and read == ["dict.en.txt"]


def test_a_file_that_was_only_touched_is_read_once(monkeypatch):
    os.utime("corpus.en", (1, 1))
    known = current.notes()
    current.renew(known, current.outdated(known))
    current._content.cache_clear()
    monkeypatch.setattr(current, "sha256_of", None)
    assert current.outdated() == set()


def test_tables_and_pages_leave_out_what_is_not_current():
    run = configuration.from_settings({"papers": [], "chains": ["toy/toy/s1/train"]})
    (chain,) = Run(run).own.chains
    model, scores = paths.manifest(chain), paths.scores(chain)
    make(model, TEXT, text={"chain": str(chain), "digest": "model", "updates": 7})
    make(scores, model, text=f"chain,set,bleu\n{chain},test,30\n")
    measured = Measured(run)
    assert measured.value(chain, "bleu") == 30 and measured.updates(chain) == 7
    replace("corpus.en", "b sentence\n", 2000 * DAY)
    measured = Measured(run)
    assert measured.value(chain, "bleu") is None and measured.updates(chain) is None
    assert (
        measured.reason(chain)
        == f"{chain} was made from something that has changed since, and not made again yet"
    )
