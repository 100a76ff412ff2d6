"""After a deployed run no file and no log holds an update, a record or a key that is not its own.

What the sites' updates were, a test sees as they leave; what may hold them is the site's own
ledger, which keeps its latest reply.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from benchmarks.processes import Deployment, stopped
from tacit.domains.domain import site_data
from tacit.domains.hospitals import Hospitals
from tacit.errors import ExitCode

SPY = Path(__file__).parent / "spy_site.py"
SITES = ("county", "referral")
EXPERIMENT = ("domain=hospitals", "model.pretraining=null", "training.rounds=3")
ROWS = 20


@dataclass(frozen=True)
class Secret:
    """Bytes that may stand in no file but those that `may` names by a part of their path."""

    what: str
    marks: tuple[bytes, ...]
    may: tuple[str, ...] = ()


def marks_of(numbers):
    """How an array could stand in a file: as numbers of two kinds, or in words."""
    flat = np.asarray(numbers, np.float32).reshape(-1)
    pairs = [flat[start : start + 4] for start in range(0, len(flat) - 3, 4)] or [flat]
    found = []
    for part in pairs:
        if len(part) * part.itemsize >= 8:
            found += [part.tobytes(), part.astype(np.float64).tobytes()]
        for value in part:
            words = {str(value), repr(float(value)), f"{value:.8e}"}
            # Short ones stand in any file.
            found += [word.encode() for word in words if len(word.lstrip("-0.")) >= 7]
    return tuple(found)


def secrets_of_keys(path):
    pem = path.read_bytes()
    key = load_pem_private_key(pem, None)
    raw = (
        key.private_numbers().private_value.to_bytes(48)
        if isinstance(key, EllipticCurvePrivateKey)
        else key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    )
    # Its first line is whole in every form of PEM: what of it is the same in all keys is shorter.
    marks = (pem.splitlines()[1], raw, raw.hex().encode())
    return Secret(f"the key {path.name}", marks, (str(path),))


def found_in(folder, secrets):
    """Every file of a folder that holds a secret which it may not: (path, what)."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for secret in secrets:
            if not any(part in str(path) for part in secret.may) and any(
                mark in content for mark in secret.marks
            ):
                found.append((path, secret.what))
    return found


@pytest.fixture(scope="session")
def ended(tmp_path_factory):
    """The folder of a run that ended, and what no file of it may hold."""
    folder, seen = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("seen")
    running = Deployment(folder, SITES, experiment=EXPERIMENT)
    for variable in ("HOME", "TMPDIR", "FLWR_HOME", "XDG_CACHE_HOME"):
        home = folder / variable.lower()
        home.mkdir()
        running.environment[variable] = str(home)
    with stopped(running):
        running.start_server()
        for site in SITES:
            form = "json" if site == "referral" else "text"
            running.edit(site, limits={"least_noise_multiplier": 0.0}, log=form)
            (seen / site).mkdir()
            running.start(
                site, sys.executable, str(SPY), str(running.site_file(site)), str(seen / site)
            )
        assert running.end_of("server") == ExitCode.DONE, running.logs()
    secrets = [secrets_of_keys(path) for path in folder.rglob("*.key")]
    for site in SITES:
        own = f"/sites/{site}/ledger/"
        for path in sorted((seen / site).iterdir()):
            update = np.frombuffer(path.read_bytes(), np.float32)
            secrets.append(Secret(f"update {path.name} of {site}", marks_of(update), (own,)))
        rows = site_data(Hospitals(), site).train.features[:ROWS]
        secrets += [Secret(f"row {n} of {site}", marks_of(row)) for n, row in enumerate(rows)]
    return running, secrets


def test_no_file_holds_what_it_may_not(ended):
    running, secrets = ended
    assert found_in(running.folder, secrets) == []


def test_the_run_was_one_in_which_there_was_something_to_find(ended):
    running, secrets = ended
    what = [secret.what for secret in secrets]
    assert sum(word.startswith("update") for word in what) == 2 * 3 * len(SITES)
    assert sum(word.startswith("row") for word in what) == ROWS * len(SITES)
    assert sum(word.startswith("the key") for word in what) >= 2 + 3 * len(SITES)
    assert all(len(secret.marks) >= 2 and b"" not in secret.marks for secret in secrets)
    files = [path.name for path in running.folder.rglob("*") if path.is_file()]
    assert {"server.log", "county.log", "history.jsonl", "state.safetensors"} <= set(files)


def test_the_coordinator_has_no_database(ended):
    running, _ = ended
    databases = [
        path
        for path in running.folder.rglob("*")
        if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3"
    ]
    assert {path.parent.name for path in databases} == {"ledger"}
    assert all("/sites/" in str(path) for path in databases)


def test_the_history_tells_of_no_measurement(ended):
    running, _ = ended
    told = {"round", "seconds", "cpu_seconds", "replied", "failed", "epsilon"}
    for line in (running.run_dir / "history.jsonl").read_text().splitlines():
        assert {key for key, value in json.loads(line).items() if value is not None} == told


def test_a_log_in_json_is_an_object_a_line(ended):
    running, _ = ended
    lines = [json.loads(line) for line in running.log("referral").splitlines()]
    assert {line["who"] for line in lines} == {"referral"}
    assert all(line.keys() == {"at", "level", "who", "message"} for line in lines)
    assert any(line["message"].startswith("connected to localhost:") for line in lines)


@pytest.mark.parametrize("kind", ["update", "row", "the key"])
@pytest.mark.parametrize("place", ["server.log", "RUN/history.jsonl", "trial/sites/county/note"])
def test_a_leak_is_found(ended, tmp_path, kind, place):
    """Planted: every mark of a secret in turn, in a file of another."""
    _, secrets = ended
    secret = next(each for each in secrets if each.what.startswith(kind))
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    for mark in secret.marks:
        path.write_bytes(b"2027-03-01 round 1: " + mark + b"\n")
        assert (path, secret.what) in found_in(tmp_path, secrets)
    path.write_bytes(b"2027-03-01 round 1: 2 sites in 0.3 s\n")
    assert found_in(tmp_path, secrets) == []
