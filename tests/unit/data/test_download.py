"""Downloads: verified, resumed, and never incomplete under their final names."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nmtprune.data.download import obtain, unpack
from nmtprune.foundation.errors import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if self.path.startswith("/missing"):
            return self.send_error(404)
        start = (
            int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
        )
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.end_headers()
            return None
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = server.cut.pop() if server.cut else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.ranges, http.cut = [], []
        http.url = f"http://127.0.0.1:{http.server_port}/corpus/train.en.gz"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield http
        http.shutdown()


def test_a_download_is_verified_and_kept(server, tmp_path):
    file = obtain(server.url, SHA256, None, tmp_path)
    assert file.read_bytes() == CONTENT
    assert file.relative_to(tmp_path).parts[1:] == ("corpus", "train.en.gz")
    assert obtain(server.url, hashlib.md5(CONTENT).hexdigest(), None, tmp_path) == file
    assert server.ranges == [None]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = [100_000]
    with pytest.raises(UserError, match=r"cannot download .*train\.en\.gz.*data_dir"):
        obtain(server.url, SHA256, None, tmp_path)
    assert not list(tmp_path.rglob("train.en.gz"))
    assert obtain(server.url, SHA256, None, tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=65536-"]


@pytest.mark.parametrize("surplus", [b"", b"more"])
def test_a_part_that_is_whole_or_too_long(server, tmp_path, surplus):
    file = obtain(server.url, None, None, tmp_path)
    file.rename(file.with_name(file.name + ".part"))
    with open(file.with_name(file.name + ".part"), "ab") as part:
        part.write(surplus)
    assert obtain(server.url, SHA256, None, tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_keeps_nothing_and_names_both(server, tmp_path):
    wrong = "0" * 64
    with pytest.raises(UserError, match=f"{SHA256}.*{wrong}"):
        obtain(server.url, wrong, None, tmp_path)
    assert not [file for file in tmp_path.rglob("train*") if file.suffix != ".lock"]


def test_a_missing_file_names_url_status_and_remedy(server, tmp_path):
    url = server.url.replace("corpus", "missing")
    with pytest.raises(UserError, match=rf"{url} \(HTTP 404\).*train\.en\.gz.*data_dir"):
        obtain(url, None, None, tmp_path)


def test_no_network_names_url_and_remedy(tmp_path):
    with pytest.raises(
        UserError, match=r"cannot download http://127\.0\.0\.1:9/x\.gz \(ConnectionError\).*x\.gz.*data_dir"
    ):
        obtain("http://127.0.0.1:9/x.gz", None, None, tmp_path)


@pytest.mark.parametrize("place", ["x.gz", "host_80/a/x.gz"])
def test_data_dir_spares_the_download_and_is_verified(tmp_path, place):
    at_hand = tmp_path / "data" / place
    at_hand.parent.mkdir(parents=True)
    at_hand.write_bytes(CONTENT)
    assert obtain("http://host:80/a/x.gz", SHA256, tmp_path / "data", tmp_path / "downloads") == at_hand
    with pytest.raises(UserError, match=f"{at_hand} has the checksum {SHA256} .* {'0' * 64}"):
        obtain("http://host:80/a/x.gz", "0" * 64, tmp_path / "data", tmp_path / "downloads")
    assert not (tmp_path / "downloads").exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/../../x.txt",
        "https://example.org/a/%2e%2e/%2e%2e/x.txt",
        "https://../x.txt",
        "https://example.org/",
        "https://example.org/a%00b",
    ],
)
def test_a_download_stays_in_its_folder(tmp_path, url):
    with pytest.raises(UserError, match="does not name a file below its host"):
        obtain(url, None, None, tmp_path / "downloads")
    assert list(tmp_path.iterdir()) == []


def tar(file, *members):
    with tarfile.open(file, "w:gz") as opened:
        for name, link in members:
            info = tarfile.TarInfo(name)
            if link is None:
                info.size = 4
                opened.addfile(info, io.BytesIO(b"text"))
            else:
                info.type, info.linkname = tarfile.SYMTYPE, link
                opened.addfile(info)


OUTSIDE = {
    "a path upwards": [("../outside", None)],
    "a path from the root": [("{root}/outside", None)],
    "a link upwards": [("inside", "../outside")],
    "a link from the root": [("inside", "{root}/outside")],
    "a file through a link": [("inside", ".."), ("inside/outside", None)],
}


@pytest.mark.parametrize("members", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_an_archive_is_unpacked_inside_its_folder(tmp_path, members):
    spelt = [(name.format(root=tmp_path), link and link.format(root=tmp_path)) for name, link in members]
    tar(tmp_path / "x.tgz", *spelt)
    (tmp_path / "folder").mkdir()
    try:
        unpack(tmp_path / "x.tgz", tmp_path / "folder")
    except UserError as error:
        assert "x.tgz" in str(error) and len(str(error).splitlines()) == 1
    else:  # a path from the root loses its root
        assert members == OUTSIDE["a path from the root"]
    assert not (tmp_path / "outside").exists()
    assert all(not file.is_symlink() for file in (tmp_path / "folder").rglob("*"))


def test_so_is_a_zip_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as opened:
        opened.writestr("../outside", "text")
    with pytest.raises(UserError, match=r"its member \.\./outside leads out of the folder"):
        unpack(tmp_path / "x.zip", tmp_path / "folder")
    assert not (tmp_path / "outside").exists()


def test_a_good_archive_is_unpacked(tmp_path):
    tar(tmp_path / "x.tgz", ("a/b.txt", None), ("c.txt", None))
    unpack(tmp_path / "x.tgz", tmp_path / "folder")
    assert (tmp_path / "folder/a/b.txt").read_text() == (tmp_path / "folder/c.txt").read_text() == "text"
    (tmp_path / "x.tgz").write_bytes((tmp_path / "x.tgz").read_bytes()[:60])
    with pytest.raises(UserError, match="is damaged"):
        unpack(tmp_path / "x.tgz", tmp_path / "again")
