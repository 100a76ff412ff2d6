from pathlib import Path

import pytest

from commands.options import line, options
from tacit.errors import ConfigurationError


def write(folder: Path, inside: str, text: str = "# Mine.\nkind: none\n") -> Path:
    path = folder / inside
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_every_packaged_option_has_a_line_that_fits_beside_its_name():
    for group, own in options().items():
        for option, path in own.items():
            assert line(path), f"{group}={option}"
            assert len(f"domain=heart_disease  {line(path)}") <= 80, f"{group}={option}"


def test_somebodys_folder_adds_options(tmp_path: Path):
    write(tmp_path, "privacy/mine.yaml")
    write(tmp_path, ".git/privacy.yaml")
    found = options(tmp_path)
    assert set(found["privacy"]) == {
        "client_level",
        "mine",
        "none",
        "record",
        "shared_noise",
    }
    assert line(found["privacy"]["mine"]) == "Mine."
    assert found.keys() == options().keys()


@pytest.mark.parametrize("inside", ["privacy/record.yaml", "config.yaml"])
def test_a_file_that_ours_would_hide_is_refused(tmp_path: Path, inside: str):
    write(tmp_path, "privacy/mine.yaml")
    path = write(tmp_path, inside)
    with pytest.raises(ConfigurationError, match="cannot be replaced") as caught:
        options(tmp_path)
    assert str(path) in str(caught.value)


def test_a_folder_without_options_is_refused(tmp_path: Path):
    write(tmp_path, "mine.yaml")
    with pytest.raises(ConfigurationError, match=r"holds no GROUP/OPTION\.yaml"):
        options(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        options(tmp_path / "nowhere")
