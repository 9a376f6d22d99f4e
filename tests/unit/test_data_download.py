"""Downloads: verified, resumed, and never half there."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nmtprune.data.download import obtain
from nmtprune.errors import UserError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.ranges.append(self.headers.get("Range"))
        if self.path.startswith("/missing"):
            return self.send_error(404)
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if self.headers.get("Range") else 0
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
    with pytest.raises(UserError, match=r"cannot download http://127\.0\.0\.1:9/x\.gz \(ConnectionError\).*x\.gz.*data_dir"):
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
