"""What tests of whole commands share: data, a cache of their own, and a command to call."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from commands import entry

# What comes first in a process imports torch, and a busy machine is no fault of the code.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real data sets; a test that needs it is skipped where it is absent."""
    root = Path(os.environ.get("TACIT_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not (root / "heart_disease").is_dir():
        pytest.skip(f"there is no heart_disease in {root}: set TACIT_DATA to run this test")
    return root


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let processes that tests start be interrupted.

    A shell starts what runs in its background with SIGINT ignored, and children inherit that. Code
    between fork and exec could undo it, but gRPC starts its threads again in such a fork, and says
    on the child's stderr what goes wrong with them.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Cache folder of this session, also of the processes it starts: never the user's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "tacit"


@pytest.fixture
def stream_keys(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Note the key of every stream that is opened in this test."""
    from tacit.privacy.randomness import Stream

    keys = []
    honest = Stream.__init__

    def noted(stream: Stream, key: bytes, *, predictable: bool) -> None:
        keys.append(key)
        honest(stream, key, predictable=predictable)

    monkeypatch.setattr(Stream, "__init__", noted)
    return keys


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ended]]:
    """Call a command (tacit-simulate unless `main` is given) in this process, by its entry."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*words: object, main: Callable[[list[str]], int] | None = None) -> Ended:
        from simulations.command import _main

        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            entry.run(lambda: (main or _main)([str(word) for word in words]))
        out, err = capsys.readouterr()
        return Ended(int(left.value.code or 0), out, err)

    yield call
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Ended]:
    """Start an installed command as a process of its own."""

    def call(name: str, *words: object, cwd: Path = tmp_path, **env: str) -> Ended:
        done = subprocess.run(
            [Path(sys.executable).parent / name, *map(str, words)],
            cwd=cwd,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return call
