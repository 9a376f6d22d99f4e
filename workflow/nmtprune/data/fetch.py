"""Read the sources that a task names, each as a stream of sentence pairs.

A source is a mapping with one of the keys of `KINDS`; schemas/task.schema.json describes its other keys.
"""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import json
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path, PurePosixPath
from typing import IO, Any

from nmtprune.data.download import obtain, unpack, verify
from nmtprune.foundation.errors import UserError
from nmtprune.foundation.known import known

Pair = tuple[str, ...]  # source and target; for toy sentences also their labels
Source = Mapping[str, Any]

# For each suffix the first bytes of such files, and a function that opens one (None: not supported).
_PACKED: dict[str, tuple[bytes, Callable[..., Any] | None]] = {
    ".gz": (b"\x1f\x8b", gzip.open),
    ".bz2": (b"BZh", bz2.open),
    ".xz": (b"\xfd7zXZ\0", lzma.open),
    ".zst": (b"\x28\xb5\x2f\xfd", None),
    ".lz4": (b"\x04\x22\x4d\x18", None),
    ".zip": (b"PK\x03\x04", None),
    ".7z": (b"7z\xbc\xaf\x27\x1c", None),
    ".rar": (b"Rar!", None),
}
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, tarfile.ReadError, zipfile.BadZipFile)
_SEGMENT = re.compile(r"<seg id=[^>]*>\s*(.*?)\s*</seg>")
_METADATA = re.compile(r"</?(url|talkid|keywords|speaker|reviewer|translator|doc)\b")
_TITLE = re.compile(r"</?(title|description)>")


@dataclass(frozen=True)
class Place:
    """Where and for which languages a source is read.

    `source` and `target` are the languages of the task, `data_dir` and `downloads` the folders for
    files.
    """

    source: str
    target: str
    data_dir: Path | None
    downloads: Path

    @property
    def languages(self) -> tuple[str, str]:
        """The source and target language."""
        return self.source, self.target

    def obtain(self, url: str, checksum: str | None) -> Path:
        """The file behind a URL, see `download.obtain`."""
        return obtain(url, checksum, self.data_dir, self.downloads)


def fetch(source: Source, place: Place) -> Iterator[Pair]:
    """The sentence pairs of one source, in order.

    Raises UserError where a file is missing, damaged, not UTF-8 or not parallel.
    """
    kind = next(key for key in KINDS if key in source)
    pairs = KINDS[kind](source, place)
    return map(_detokenised(place), pairs) if source.get("tokenised") else pairs


def lines_of(file: IO[bytes], name: str) -> Iterator[str]:
    """Lines of a UTF-8 stream, split at newline characters only.

    Raises UserError that names file and line where the text is not UTF-8.
    """
    try:
        for number, raw in enumerate(file, 1):
            line = raw.decode("utf-8")
            yield (line.removeprefix("\ufeff") if number == 1 else line).rstrip("\r\n")
    except UnicodeDecodeError:
        raise UserError(
            f"{name}, line {number}: the text is not UTF-8; convert it, for example with iconv"
        ) from None
    except _DAMAGED as error:
        raise UserError(f"{name} is damaged ({error}): get it again") from None
    except OSError as error:
        if error.errno is not None:  # an error of the system; those of bz2 have no number
            raise
        raise UserError(f"{name} is damaged ({error}): get it again") from None


def check_packing(file: IO[bytes], name: str) -> str | None:
    """The suffix of the format in which a file is compressed, or None for plain text.

    The format is recognised by the name or the first bytes. Raises UserError if it cannot be read here.
    """
    begins = file.read(max(len(magic) for magic, _ in _PACKED.values()))
    suffix = next((suffix for suffix in _PACKED if name.lower().endswith(suffix)), None)
    suffix = suffix or next(
        (suffix for suffix, (magic, _) in _PACKED.items() if begins.startswith(magic)), None
    )
    if suffix and _PACKED[suffix][1] is None:
        valid = ", ".join(known for known, (_, opens) in _PACKED.items() if opens)
        raise UserError(
            f"{name} is packed as {suffix}, which cannot be read here: unpack it, or pack it differently; "
            f"valid: plain text, {valid}"
        )
    return suffix


def _unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    """The decompressed content of a seekable file that is open at its beginning."""
    suffix = check_packing(file, name)
    file.seek(0)
    return known(_PACKED[suffix][1])(file) if suffix else file


def paired(sides: Sequence[Iterable[str]], names: Sequence[str]) -> Iterator[Pair]:
    """Lines of two sides as pairs; raises UserError that names both counts if they differ."""
    streams = [iter(side) for side in sides]
    for read, pair in enumerate(zip_longest(*streams)):
        if None in pair:
            counts = [
                read + (line is not None) + sum(1 for _ in rest)
                for line, rest in zip(pair, streams, strict=True)
            ]
            raise UserError(
                f"{names[0]} has {counts[0]} lines and {names[1]} has {counts[1]}: a parallel corpus needs "
                "equal sides"
            )
        yield pair


def by_language(pattern: str | Mapping[str, str], language: str) -> str:
    """The path or URL for one language, from a text with `{lang}` or from a mapping by language.

    Raises UserError if the mapping lacks the language.
    """
    if isinstance(pattern, str):
        return pattern.replace("{lang}", language)
    if language not in pattern:
        raise UserError(
            f"a source names files for {', '.join(pattern)} and the task needs one for `{language}`"
        )
    return pattern[language]


def _checksum(source: Source, language: str) -> str | None:
    return source.get("sha256", {}).get(language)


def _read(file: Path) -> Iterator[str]:
    with open(file, "rb") as stream:
        yield from lines_of(_unpacked(stream, str(file)), str(file))


def _files(source: Source, place: Place) -> Iterator[Pair]:
    files = []
    for language in place.languages:
        file = _own(by_language(source["files"], language), place, f"its `{language}` side")
        verify(file, _checksum(source, language))
        files.append(file)
    return paired([_read(file) for file in files], [str(file) for file in files])


def _own(named: str, place: Place, what: str) -> Path:
    """A file of the user's own, in the working directory or in `data_dir`. Raises UserError."""
    candidates = [Path(named)] if place.data_dir is None else [Path(named), place.data_dir / named]
    file = next(filter(os.path.isfile, candidates), None)
    if file is None:
        raise UserError(
            f"there is no file {' or '.join(map(str, candidates))}, which the task names as {what}"
        )
    return file


def read_references(named: str, place: Place) -> list[str]:
    """The lines of a file with further references of a test set. Raises UserError."""
    return list(_read(_own(named, place, "further references")))


def _url(source: Source, place: Place) -> Iterator[Pair]:
    files = [
        place.obtain(by_language(source["url"], lang), _checksum(source, lang)) for lang in place.languages
    ]
    return paired([_read(file) for file in files], [str(file) for file in files])


def _archive(source: Source, place: Place) -> Iterator[Pair]:
    archive = place.obtain(source["archive"], source.get("sha256"))
    members = source["members"] if isinstance(source["members"], list) else [source["members"]]
    for member in members:
        patterns = [by_language(member, language) for language in place.languages]
        yield from paired(
            [_members(archive, pattern) for pattern in patterns],
            [f"{archive}: {pattern}" for pattern in patterns],
        )


def _members(archive: Path, pattern: str) -> Iterator[str]:
    """Lines of the archive's members that match a shell pattern, in the order of their names."""
    try:
        with zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive) as opened:
            if isinstance(opened, zipfile.ZipFile):
                files = [member.filename for member in opened.infolist() if not member.is_dir()]
            else:
                files = [member.name for member in opened.getmembers() if not member.isdir()]
            names = sorted(fnmatch.filter(files, pattern))
            if not names:
                raise UserError(f"{archive} has no member {pattern}")
            # members are read in place: nothing is written to disk, whatever their names and links are
            for name in names:
                with _opened(opened, name, archive) as member:
                    yield from _text_of(lines_of(_unpacked(member, name), f"{archive}: {name}"), name)
    except _DAMAGED as error:
        raise UserError(f"{archive} is damaged ({error}): get it again") from None


def _opened(opened: zipfile.ZipFile | tarfile.TarFile, name: str, archive: Path) -> IO[bytes]:
    """A member of an archive. Raises UserError where it is a link."""
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(name)
    if not opened.getmember(name).isfile():
        raise UserError(f"{archive}: {name} is a link, not a text file; name the member that it links to")
    return known(opened.extractfile(name))


def _text_of(lines: Iterator[str], name: str) -> Iterator[str]:
    """The sentences of a file of WMT or IWSLT, extracted from mark-up as in fairseq's scripts."""
    base = PurePosixPath(name).name
    if base.endswith((".xml", ".sgm")):
        for line in lines:
            segment = _SEGMENT.search(line)
            if segment:
                yield segment[1].replace("’", "'")
    elif base.startswith("train.tags."):
        for line in lines:
            if not _METADATA.search(line):
                yield _TITLE.sub("", line).strip()
    else:
        yield from lines


def _mtdata(source: Source, place: Place) -> Iterator[Pair]:
    """A data set of mtdata's index, parsed by mtdata and downloaded by `download.obtain`."""
    place.downloads.mkdir(parents=True, exist_ok=True)
    # mtdata reads the folder of its index when it is imported
    os.environ.setdefault("MTDATA", str(place.downloads / "mtdata"))
    from mtdata.cache import Cache
    from mtdata.entry import DatasetId
    from mtdata.index import Index
    from mtdata.iso.bcp47 import bcp47
    from mtdata.parser import Parser

    class Files(Cache):
        def get_local_path(self, url: str, *_: Any, **__: Any) -> Path:
            return place.obtain(url, None)

    name = source["mtdata"]
    try:
        entry = Index.get_instance().entries[DatasetId.parse(name)]
    except (KeyError, ValueError, AssertionError):
        raise UserError(
            f"mtdata has no data set `{name}`: `mtdata list -l {place.source}-{place.target}` lists those it "
            "has"
        ) from None
    languages = [tag.lang for tag in entry.did.langs]
    wanted = [bcp47(language).lang for language in place.languages]
    if sorted(languages) != sorted(wanted):
        raise UserError(
            f"mtdata's data set `{name}` is {'-'.join(languages)} and the task is "
            f"{place.source}-{place.target}"
        )
    order = [languages.index(language) for language in wanted]
    parser = Parser(Files(place.downloads).get_entry(entry), ext=entry.in_ext or None, ent=entry)
    return (tuple(segments[side] or "" for side in order) for segments in parser.read_segs(show_pbar=False))


def _sacrebleu(source: Source, place: Place) -> Iterator[Pair]:
    """A test set of sacrebleu with its first reference; files are downloaded by `download.obtain`."""
    from sacrebleu.dataset import DATASETS

    name, pair = source["sacrebleu"], f"{place.source}-{place.target}"
    if name not in DATASETS:
        raise UserError(f"sacrebleu has no test set `{name}`: `sacrebleu --list` prints those it has")
    dataset = DATASETS[name]
    if pair not in dataset.langpairs:
        raise UserError(
            f"sacrebleu's test set `{name}` has no {pair}; it has {', '.join(sorted(dataset.langpairs))}"
        )
    folder = place.downloads / "sacrebleu" / name.replace("/", "_") / pair
    dataset._outdir, dataset._rawdir = str(folder), str(folder / "raw")
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    for url, md5 in zip(dataset.data, dataset.md5 or [None] * len(dataset.data), strict=True):
        # If this copy exists, sacrebleu neither downloads nor unpacks anything.
        copy = folder / "raw" / dataset._get_tarball_filename(url)
        shutil.copyfile(place.obtain(url, md5), copy)
        unpack(copy, folder / "raw")
    files = [Path(dataset.get_source_file(pair)), Path(dataset.get_reference_files(pair)[0])]
    return paired([_read(file) for file in files], [str(file) for file in files])


def _toy(source: Source, place: Place) -> Iterator[Pair]:
    from nmtprune.data import toy  # noqa: PLC0415 - makes its words as it is imported

    for example in toy.generate(**source["toy"]):
        sides = (
            (example.target, example.source) if source.get("reverse") else (example.source, example.target)
        )
        yield (*sides, json.dumps(example.labels, ensure_ascii=False, sort_keys=True))


def _detokenised(place: Place) -> Callable[[Pair], Pair]:
    """A function that undoes Moses' tokenisation, including its escapes and `##AT##-##AT##`.

    Luong and Manning's corpora write dashes within words as `##AT##-##AT##`.
    """
    from sacremoses import MosesDetokenizer

    sides = [MosesDetokenizer(language) for language in place.languages]

    def detokenise(pair: Pair) -> Pair:
        return tuple(
            side.detokenize(line.replace("##AT##-##AT##", "@-@").split())
            for side, line in zip(sides, pair, strict=True)
        )

    return detokenise


KINDS: dict[str, Callable[[Source, Place], Iterator[Pair]]] = {
    "files": _files,
    "url": _url,
    "archive": _archive,
    "mtdata": _mtdata,
    "sacrebleu": _sacrebleu,
    "toy": _toy,
}


def fetch_all(sources: Iterable[Source], place: Place) -> Iterator[Pair]:
    """The sentence pairs of several sources, one after the other."""
    return chain.from_iterable(fetch(source, place) for source in sources)
