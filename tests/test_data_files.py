"""Downloads into the cache: whole or not at all, however they end."""

import hashlib
import signal
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from accentlib.data import files
from accentlib.data.files import ARCHIVE, RELATIONS, SHA256


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty cache, named by its variable, and a folder to serve files from."""
    cache, served = tmp_path / "cache", tmp_path / "served"
    served.mkdir()
    monkeypatch.setenv("ACCENT_CACHE", str(cache))
    return cache, served


def pin(monkeypatch, name, content):
    """Make `content` the known content of the file `name`."""
    monkeypatch.setitem(SHA256, name, hashlib.sha256(content).hexdigest())


class Server(SimpleHTTPRequestHandler):
    """Serves a folder, without a word."""

    def log_message(self, *args):
        pass


class HalfServer(Server):
    """Announces the whole file, sends half of it and hangs up."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 500)


@pytest.fixture
def serve(monkeypatch):
    """A web server on this machine; gives its address."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers = []

    def start(handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_download_over_http(folders, monkeypatch, serve, capfd):
    (folders[1] / RELATIONS[0]).write_bytes(b"x" * 1000)
    pin(monkeypatch, RELATIONS[0], b"x" * 1000)
    address = serve(partial(Server, directory=str(folders[1])))
    path = files.download(RELATIONS[0], address + RELATIONS[0], files.http)
    assert path.read_bytes() == b"x" * 1000
    out, err = capfd.readouterr()
    assert out == "" and "100%" in err


def test_a_cut_download_leaves_nothing(folders, monkeypatch, serve):
    with pytest.raises((OSError, ValueError)) as caught:
        files.download(ARCHIVE, serve(HalfServer) + ARCHIVE, files.http)
    assert files.reason(caught.value).startswith("the download broke off")
    assert list(folders[0].iterdir()) == []


def test_another_file_than_the_known_one_is_refused(folders, serve, monkeypatch):
    (folders[1] / ARCHIVE).write_bytes(b"<html>please log in</html>")
    address = serve(partial(Server, directory=str(folders[1])))
    with pytest.raises(ValueError) as caught:
        files.download(ARCHIVE, address + ARCHIVE, files.http)
    assert files.reason(caught.value) == "what came is not the known file, its SHA-256 differs"
    assert list(folders[0].iterdir()) == []


def test_a_missing_page(folders, serve):
    address = serve(partial(Server, directory=str(folders[1])))
    with pytest.raises(OSError) as caught:
        files.download(ARCHIVE, address + ARCHIVE, files.http)
    assert files.reason(caught.value) == "HTTP status 404"
    assert list(folders[0].iterdir()) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
def test_an_interrupted_download_leaves_nothing(folders, interruption):
    def interrupted(url, output, manager):
        Path(output).write_bytes(b"half")
        raise interruption

    with pytest.raises(interruption):
        files.download(ARCHIVE, "somewhere", interrupted)
    assert list(folders[0].iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from accentlib.data import files

def slow(url, output, manager):
    Path(output).write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)

files.download(files.ARCHIVE, "somewhere", slow)
"""


def test_a_killed_download_does_not_count_as_fetched(folders, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "writing\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not (folders[0] / ARCHIVE).exists()
    pin(monkeypatch, ARCHIVE, b"whole")
    path = files.download(ARCHIVE, "somewhere", lambda url, output, manager: Path(output).write_bytes(b"whole"))
    assert path.read_bytes() == b"whole"
