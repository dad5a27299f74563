from pathlib import Path

import pytest
from affect_training.cli.common import prepare_output

from affect.errors import SettingsError


def test_the_folder_of_an_output_is_made_and_no_file(tmp_path: Path) -> None:
    prepare_output(tmp_path / "a/b/figures.json")
    assert (tmp_path / "a/b").is_dir()
    assert list((tmp_path / "a/b").iterdir()) == []
    prepare_output(None)


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("before")
    prepare_output(path)
    assert path.read_text() == "before"


@pytest.mark.parametrize("name", ["file/figures.json", "folder"])
def test_where_nothing_can_be_written_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match=f"{name}: cannot be written: "):
        prepare_output(tmp_path / name)
