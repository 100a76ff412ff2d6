"""A model by its name on a hub: a server on loopback that speaks as the hub does."""

import hashlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra `text` is not installed")

import small_models

from tacit.models import hub

COMMITS = {"main": "a" * 40, "v1": "b" * 40}
ASK = (
    "import sys\n"
    "from tacit.errors import TacitError\n"
    "from tacit.models.hub import model_files\n"
    "name, pinned, revision = (word or None for word in sys.argv[1:])\n"
    "try:\n"
    "    found = model_files(name, pinned, revision)\n"
    "except TacitError as error:\n"
    "    sys.exit(str(error))\n"
    "print(found.sha256, found.folder)\n"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = small_models.bert(tmp_path_factory.mktemp("hub") / "bert")
    (folder / "training_args.bin").write_bytes(b"a pickle, say, that nobody asked for")
    return folder


@pytest.fixture
def served(model):
    """Serve the folder as someone/small; gives the address and the paths that were asked for."""
    asked = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self._answer(body=False)

        def do_GET(self):
            self._answer(body=True)

        def _answer(self, *, body):
            asked.append(path := self.path.partition("?")[0])
            for revision, commit in COMMITS.items():
                if path == f"/api/models/someone/small/revision/{revision}":
                    names = [{"rfilename": p.name} for p in sorted(model.iterdir())]
                    said = {"id": "someone/small", "sha": commit, "siblings": names}
                    return self._send(json.dumps(said).encode(), body, kind="application/json")
                if path == f"/api/models/someone/small/tree/{commit}":
                    tree = [
                        {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "c" * 40}
                        for p in sorted(model.iterdir())
                    ]
                    return self._send(json.dumps(tree).encode(), body, kind="application/json")
                if path.startswith(f"/someone/small/resolve/{commit}/"):
                    content = (model / path.rpartition("/")[2]).read_bytes()
                    etag = hashlib.sha256(content).hexdigest()
                    return self._send(content, body, ETag=f'"{etag}"', **{"X-Repo-Commit": commit})
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None

        def _send(self, content, body, kind="application/octet-stream", **headers):
            self.send_response(200)
            whole = {"Content-Type": kind, "Content-Length": str(len(content)), **headers}
            for name, value in whole.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *said):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def found(home, address, name="someone/small", pinned="", revision=""):
    return subprocess.run(
        [sys.executable, "-c", ASK, name, pinned, revision],
        env={
            "PATH": "",
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": address,
            "HF_HUB_DISABLE_XET": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_model_is_fetched_once_and_is_the_folders(served, model, tmp_path):
    address, asked = served
    first = found(tmp_path, address)
    assert first.returncode == 0, first.stderr
    sha256, _, folder = first.stdout.strip().partition(" ")
    assert sha256 == hub.model_files(str(model)).sha256
    assert hub.model_files(folder) == hub.ModelFiles(
        Path(folder), sha256, hub.model_files(str(model)).identity
    )
    # What could hold code is left where it is.
    assert not (Path(folder) / "training_args.bin").exists()
    assert not [path for path in asked if path.endswith(".bin")]
    asked.clear()
    again = found(tmp_path, address)
    assert again.stdout == first.stdout
    assert not [path for path in asked if path.endswith(".safetensors")]


def test_a_revision_and_a_pinned_hash(served, model, tmp_path):
    address, asked = served
    sha256 = hub.model_files(str(model)).sha256
    kept = found(tmp_path, address, pinned=sha256, revision="v1")
    assert kept.returncode == 0, kept.stderr
    assert f"/someone/small/resolve/{COMMITS['v1']}/config.json" in asked
    other = found(tmp_path, address, pinned="0" * 64)
    assert other.returncode != 0
    assert "model.sha256 pins 0000" in other.stderr


def test_a_name_that_the_hub_does_not_have(served, tmp_path):
    address, _ = served
    ended = found(tmp_path, address, name="someone/else")
    assert ended.stderr.startswith("model.name=someone/else: no such folder or file here, and the")
    assert "Repository Not Found" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_hub_that_is_not_there_and_a_model_that_is_kept(served, model, tmp_path):
    address, _ = served
    kept = found(tmp_path, address)
    away = "http://127.0.0.1:1"
    assert found(tmp_path, away).stdout == kept.stdout
    ended = found(tmp_path / "other", away)
    assert ended.stderr.startswith("model.name=someone/small: no such folder or file here, and the")
    assert "Traceback" not in ended.stderr
