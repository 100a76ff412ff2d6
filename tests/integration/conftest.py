"""A run that others are held against, and how to start one in this process and go on with it."""

import pytest
from lying_coordinator import Wards
from transport_processes import SITES, Running, write_trust
from whole_run import call, uninterrupted, words


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """An uninterrupted run with seeded noise; to be read only."""
    return uninterrupted(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def run(capsys):
    """Run in this process; gives exit code and stderr."""
    return lambda path, *more: call([*words(path), *more], capsys)


@pytest.fixture
def resume(capsys):
    """Go on with a run; gives exit code and stderr."""
    return lambda path, *more: call([f"run.resume={path}", *more], capsys)


@pytest.fixture
def start(tmp_path):
    """Start processes that trust each other; end them by their id."""
    write_trust(tmp_path, SITES)
    running = []

    def started(role, port=0, **options):
        running.append(Running(role, tmp_path, port, **options))
        return running[-1]

    yield started
    for one in running:
        one.kill()


@pytest.fixture
def wards(tmp_path, caplog):
    """Make sites for secure sums in this process; they have set a run aside."""
    made = []

    def make(count=5, reserved=True, **more):
        made.append(Wards(tmp_path, caplog, count, **more))
        if reserved:
            made[-1].reserve()
        return made[-1]

    yield make
    for each in made:
        each.close()
