from pathlib import Path

import pytest
from affect_training.cli.fullframe import fullframe
from click.testing import CliRunner
from support.tiny import tiny_faces, write_fer2013

from affect.errors import SettingsError


def test_where_the_figures_go_is_looked_at_before_a_face_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    arguments = ["--data", str(data), "--json", str(data / "figures.json")]
    with pytest.raises(SettingsError, match=r"figures\.json: cannot be written"):
        CliRunner().invoke(fullframe, arguments, catch_exceptions=False)
    assert not (tmp_path / "runs").exists()
