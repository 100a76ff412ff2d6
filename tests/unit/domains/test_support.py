"""CLINC150 as ten support desks: from files of the same form, and from the real ones."""

import json
import os
from pathlib import Path

import pytest

from tacit.domains.domain import check_inputs, check_sites
from tacit.domains.support import DECLARED_SIZES, Support
from tacit.domains.texts import bytes_to_texts
from tacit.errors import ConfigurationError, DataError

ROOT = Path(os.environ.get("TACIT_DATA", Path(__file__).parents[4] / "shared" / "data"))
FOLDER = ROOT / "clinc150"
needs_data = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no data in {FOLDER}: set TACIT_DATA to the folder of data sets"
)


@pytest.fixture
def folder(tmp_path):
    subjects = {s.replace("_", " "): [f"{s} one", f"{s} two"] for s in DECLARED_SIZES}
    pairs = [[f"about {i}", i.replace(" ", "_")] for own in subjects.values() for i in own]
    parts = {"train": pairs * 2, "test": pairs, "oos_test": [["how high is the moon", "oos"]]}
    (tmp_path / "domains.json").write_text(json.dumps(subjects))
    (tmp_path / "data_full.json").write_text(json.dumps(parts))
    return tmp_path


def changed(folder, **parts):
    path = folder / "data_full.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


def test_a_desk_holds_its_own_intents_and_no_others(folder):
    domain = Support(str(folder))
    data = domain.load()
    check_sites(data, domain.card)
    check_inputs(data, domain)
    names = domain.card.classes
    for site, held in data.items():
        assert len(held.train) == 4
        assert {names[k] for k in held.train.targets} == {f"{site}_one", f"{site}_two"}
        assert all(site in text for text in bytes_to_texts(held.test.features))
    assert bytes_to_texts(domain.out_of_scope()) == ["how high is the moon"]


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"train": [["where is it", "nothing_known"]]}, "train row 1: intent 'nothing_known'"),
        ({"test": [["a", "work_one"], ["alone"]]}, "test row 2"),
        ({"test": [["  ", "work_one"]]}, "test row 1"),
        ({"train": [[7, "work_one"]]}, "train row 1"),
        ({"test": {}}, "no list 'test'"),
    ],
)
def test_odd_rows_are_named(folder, parts, told):
    changed(folder, **parts)
    with pytest.raises(DataError, match=told):
        Support(str(folder)).load()


def test_files_that_are_none_of_these_are_named(folder):
    (folder / "data_full.json").write_text("{")
    with pytest.raises(DataError, match=r"data_full\.json: cannot be read"):
        Support(str(folder)).load()
    (folder / "data_full.json").unlink()
    with pytest.raises(DataError, match=r"no such file; domain\.root"):
        Support(str(folder)).load()
    (folder / "domains.json").write_text('{"moon": ["a"]}')
    with pytest.raises(DataError, match="has the subjects"):
        Support(str(folder))
    (folder / "domains.json").write_text('{"moon": "a"}')
    with pytest.raises(DataError, match="must be a list of intents"):
        Support(str(folder))


def test_a_size_of_no_site_is_refused(folder):
    with pytest.raises(ConfigurationError, match="moon"):
        Support(str(folder), {"moon": 5})


@needs_data
def test_the_real_desks_have_their_published_sizes():
    """Larson et al. 2019, section 2: 100 training and 30 test sentences of each of 150 intents."""
    domain = Support(str(FOLDER))
    data = domain.load()
    check_sites(data, domain.card)
    assert len(domain.card.classes) == 150
    for held in data.values():
        assert held.train.targets.unique().numel() == 15
        assert set(held.train.targets.bincount().tolist()) == {0, 100}
        assert set(held.test.targets.bincount().tolist()) == {0, 30}
    assert len(domain.out_of_scope()) == 1000
    kept = [t for held in data.values() for t in bytes_to_texts(held.train.features)]
    assert all(0 < len(text) < 200 for text in kept)
