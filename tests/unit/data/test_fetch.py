"""Sources: every kind gives the same stream of sentence pairs, and clear messages about faulty files."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import subprocess
import sys
import tarfile
import zipfile

import pytest

from nmtprune.data.corpus import own_files
from nmtprune.data.fetch import Place, fetch
from nmtprune.experiment.task import Task
from nmtprune.foundation.errors import UserError

EN, DE = ["A house .", "Line\u2028one", "Dr. No"], ["Ein Haus .", "Zeile eins", "Dr. No"]


def text(lines):
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.fixture
def place(tmp_path):
    (tmp_path / "data").mkdir()
    return Place("en", "de", tmp_path / "data", tmp_path / "downloads")


def archive(file, members):
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as opened:
            for name, content in members.items():
                opened.writestr(name, content)
    else:
        with tarfile.open(file, "w:gz" if file.suffix == ".tgz" else "w") as opened:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                opened.addfile(info, io.BytesIO(content))


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix, pack", [("", bytes), *PACKED.items(), (".GZ", gzip.compress)])
def test_plain_and_packed_files(place, suffix, pack):
    for language, lines in (("en", EN), ("de", DE)):
        (place.data_dir / f"own.{language}{suffix}").write_bytes(pack(text(lines)))
    expected = list(zip(EN, DE, strict=True))
    assert list(fetch({"files": f"own.{{lang}}{suffix}"}, place)) == expected
    assert (
        list(
            fetch({"files": {"en": f"own.en{suffix}", "de": str(place.data_dir / f"own.de{suffix}")}}, place)
        )
        == expected
    )
    assert list(fetch({"url": f"https://example.org/own.{{lang}}{suffix}"}, place)) == expected


def test_windows_line_ends_and_byte_order_mark(place):
    (place.data_dir / "a.en").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    (place.data_dir / "a.de").write_bytes(b"eins\nzwei")
    assert list(fetch({"files": "a.{lang}"}, place)) == [("one", "eins"), ("two", "zwei")]


@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_packed_files_are_told_by_their_first_bytes_too(place, pack):
    for language, lines in (("en", EN), ("de", DE)):
        (place.data_dir / f"own.{language}").write_bytes(pack(text(lines)))
    assert list(fetch({"files": "own.{lang}"}, place)) == list(zip(EN, DE, strict=True))


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".gz"])
@pytest.mark.parametrize("damage", [lambda packed: packed[:-6], lambda packed: b"no such file"])
def test_packed_files_that_are_damaged(place, suffix, damage):
    for language in place.languages:
        (place.data_dir / f"d.{language}{suffix}").write_bytes(damage(PACKED[suffix](text(EN * 50))))
    with pytest.raises(UserError, match=rf"d\..*\{suffix} is damaged"):
        list(fetch({"files": f"d.{{lang}}{suffix}"}, place))


@pytest.mark.parametrize(
    "name, begins",
    [
        ("own.{lang}.7z", b"anything"),
        ("own.{lang}", b"\x04\x22\x4d\x18 lz4"),
        ("own.{lang}", b"PK\x03\x04 zip"),
    ],
)
def test_files_that_nothing_here_unpacks_are_named(place, name, begins):
    for language in place.languages:
        (place.data_dir / name.replace("{lang}", language)).write_bytes(begins)
    said = r"own\.en.* is packed as \.(7z|lz4|zip), .*; valid: plain text, \.gz, \.bz2, \.xz"
    with pytest.raises(UserError, match=said):
        list(fetch({"files": name}, place))
    task = {"title": "Own", "source": "en", "target": "de", "train": [{"files": name}], "dev": [], "test": {}}
    with pytest.raises(UserError, match=said):
        own_files(Task.over(task), place.data_dir)


def test_links_and_folders_in_archives_are_no_texts(place):
    with tarfile.open(place.data_dir / "x.tar", "w") as opened:
        for name, kind in (("c", tarfile.DIRTYPE), ("c/a.en", tarfile.SYMTYPE), ("c/a.de", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            opened.addfile(info)
    source = {"archive": "https://example.org/x.tar", "members": "c/a.{lang}"}
    with pytest.raises(UserError, match=r"x\.tar: c/a\.en is a link"):
        list(fetch(source, place))
    with pytest.raises(UserError, match=r"x\.tar has no member c"):
        list(fetch({**source, "members": {"en": "c", "de": "c"}}, place))


@pytest.mark.parametrize("name", ["corpus.tgz", "corpus.tar", "corpus.zip"])
def test_archives_by_pattern_and_with_packed_members(place, name):
    members = {"c/b_en.txt": text(EN[1:]), "c/a_en.txt": text(EN[:1]), "c/all.de.gz": gzip.compress(text(DE))}
    archive(place.data_dir / name, members)
    source = {
        "archive": f"https://example.org/x/{name}",
        "members": {"en": "c/*_en.txt", "de": "c/all.de.gz"},
    }
    assert list(fetch(source, place)) == list(zip(EN, DE, strict=True))
    with pytest.raises(UserError, match=rf"{name} has no member c/none\.en"):
        list(fetch({**source, "members": "c/none.{lang}"}, place))


def test_iwslt_training_and_test_files(place):
    tags = "<url>http://x</url>\n<keywords>a, b</keywords>\n<title>A Talk</title>\n"
    tags += "<description>On x</description>\n She < he. \n"
    later = '<doc docid="1" genre="lectures">\n<speaker>S</speaker>\n<reviewer></reviewer>\nBye.\n</doc>\n'
    seg = (
        '<?xml version="1.0"?>\n<doc docid="1">\n<seg id="1"> It’s {} </seg>\n<seg id="2">So.</seg>\n</doc>\n'
    )
    members = {}
    for language in place.languages:
        members[f"x/train.tags.en-de.{language}"] = (tags + later).encode()
        members[f"x/T.dev.{language}.xml"] = seg.format(language).encode()
    archive(place.data_dir / "x.tgz", members)
    url = "https://example.org/x.tgz"
    train = [pair[0] for pair in fetch({"archive": url, "members": "x/train.tags.en-de.{lang}"}, place)]
    assert train == ["A Talk", "On x", "She < he.", "Bye."]
    twice = {"archive": url, "members": ["x/T.dev.{lang}.xml", "x/T.dev.{lang}.xml"]}
    assert list(fetch(twice, place)) == [("It's en", "It's de"), ("So.", "So.")] * 2


def test_tokenised_text_is_detokenised(place):
    (place.data_dir / "t.en").write_text("It &apos;s a high ##AT##-##AT## end &quot; thing &quot; .\n")
    (place.data_dir / "t.de").write_text("Ja , so .\n")
    assert list(fetch({"files": "t.{lang}", "tokenised": True}, place)) == [
        ('It\'s a high-end "thing".', "Ja, so.")
    ]


def test_unequal_sides_name_both_counts(place):
    (place.data_dir / "u.en").write_text("a\nb\nc\nd\n")
    (place.data_dir / "u.de").write_text("a\nb\n")
    with pytest.raises(UserError, match=r"u\.en has 4 lines and .*u\.de has 2"):
        list(fetch({"files": "u.{lang}"}, place))


def test_wrong_encoding_names_file_and_line(place):
    (place.data_dir / "e.en").write_bytes("a\nb\ncafé\n".encode("latin-1"))
    (place.data_dir / "e.de").write_text("a\nb\nc\n")
    with pytest.raises(UserError, match=r"e\.en, line 3: the text is not UTF-8"):
        list(fetch({"files": "e.{lang}"}, place))


@pytest.mark.parametrize("name", ["d.{lang}.gz", "d.tgz", "d.zip"])
def test_damaged_files_are_named(place, name):
    for language in place.languages:
        (place.data_dir / name.replace("{lang}", language)).write_bytes(gzip.compress(text(EN * 50))[:-20])
    url = f"https://example.org/{name}"
    source = {"url": url} if "lang" in name else {"archive": url, "members": "d.{lang}"}
    with pytest.raises(UserError, match=r"d\..* is damaged"):
        list(fetch(source, place))


def test_a_missing_own_file_names_where_it_was_looked_for(place):
    with pytest.raises(UserError, match=r"no file mine\.en or .*data/mine\.en.*`en` side"):
        fetch({"files": "mine.{lang}"}, place)


def test_files_are_verified(place):
    for language in place.languages:
        (place.data_dir / f"v.{language}").write_text("a\n")
    with pytest.raises(UserError, match=f"{'0' * 64}"):
        fetch({"files": "v.{lang}", "sha256": {"en": "0" * 64}}, place)


def test_sacrebleu_reads_what_our_download_brought(place, monkeypatch):
    from sacrebleu.dataset import DATASETS

    sgm = '<srcset>\n<doc>\n<seg id="1">{0} one</seg>\n<seg id="2">{0}  two </seg>\n</doc>\n'
    archive(
        place.data_dir / "test-full.tgz",
        {
            f"test-full/newstest2014-deen-{kind}.{lang}.sgm": sgm.format(lang).encode()
            for kind, lang in (("src", "en"), ("ref", "de"))
        },
    )
    monkeypatch.setattr(
        DATASETS["wmt14/full"],
        "md5",
        [hashlib.md5((place.data_dir / "test-full.tgz").read_bytes()).hexdigest()],
    )
    assert list(fetch({"sacrebleu": "wmt14/full"}, place)) == [("en one", "de one"), ("en two", "de two")]
    with pytest.raises(UserError, match="no test set `wmt99`"):
        fetch({"sacrebleu": "wmt99"}, place)
    with pytest.raises(UserError, match=r"`wmt14/full` has no en-sw; it has .*en-de"):
        fetch({"sacrebleu": "wmt14/full"}, Place("en", "sw", None, place.downloads))


MTDATA_WITH_A_SMALL_INDEX = """
import importlib, sys, types
from pathlib import Path
from mtdata.entry import Entry
files = ["c/x.de", "c/x.en"]
entries = [Entry("Test-corpus-1-deu-eng", url="https://example.org/c.tgz", in_paths=files, in_ext="txt")]
fill = types.SimpleNamespace(load_all=lambda index: [index.add_entry(entries.pop()) for _ in entries[:]])
real = importlib.import_module
importlib.import_module = lambda name, package=None: (
    fill if package == "mtdata.index" else real(name, package)
)
import mtdata.index
from nmtprune.data.fetch import Place, fetch
from nmtprune.foundation.errors import UserError
known, unknown = "Test-corpus-1-deu-eng", "Test-other-1-deu-eng"
for target, name in (("de", known), ("de", unknown), ("fr", known)):
    try:
        print(list(fetch({"mtdata": name}, Place("en", target, Path(sys.argv[1]), Path(sys.argv[2])))))
    except UserError as error:
        print(error)
"""


def test_mtdata_gives_the_tasks_direction(place):
    pytest.importorskip("mtdata")
    archive(place.data_dir / "c.tgz", {"c/x.de": text(DE), "c/x.en": text(EN)})
    command = [sys.executable, "-c", MTDATA_WITH_A_SMALL_INDEX, place.data_dir, place.downloads]
    environment = {**os.environ, "MTDATA": str(place.data_dir)}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    pairs, unknown, wrong = ran.stdout.strip().splitlines()
    assert pairs == str(list(zip(EN, DE, strict=True)))
    assert "mtdata has no data set `Test-other-1-deu-eng`" in unknown
    assert "is deu-eng and the task is en-fr" in wrong


def test_no_heavy_library_is_imported_before_it_is_needed():
    heavy = ("torch", "fairseq", "requests", "mtdata", "sacrebleu", "sentencepiece", "sacremoses")
    code = f"import sys, nmtprune.data.corpus; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
