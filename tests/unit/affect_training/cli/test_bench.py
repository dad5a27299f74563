import json
from pathlib import Path

import pytest
from affect_training.cli.bench import bench
from click.testing import CliRunner
from support.tiny import install_tiny

from affect.errors import PluginError, SettingsError


@pytest.fixture(autouse=True)
def _tiny_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)


def test_one_recipe_is_timed_printed_and_written(tmp_path: Path) -> None:
    report = tmp_path / "there" / "bench.json"
    arguments = ["tiny", "--batch", "4", "--steps", "2", "--rounds", "1", "--json", str(report), "--device", "cpu"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(bench, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (found,) = json.loads(report.read_text(encoding="utf-8"))
    assert (found["recipe"], found["batch"], found["steps"], found["rounds"]) == ("tiny", 4, 2, 1)
    assert found["to_bare"] == pytest.approx(found["run"] / found["bare"])
    assert "run/bare" in result.output
    assert "peak MB" in result.output


def test_where_the_figures_go_is_looked_at_before_anything_is_timed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"file/bench\.json: cannot be written"):
        CliRunner().invoke(bench, ["tiny", "--json", str(tmp_path / "file/bench.json")], catch_exceptions=False)


def test_unknown_recipes_and_wrong_settings_are_refused() -> None:
    with pytest.raises(PluginError, match="did you mean 'tiny'"):
        CliRunner().invoke(bench, ["tyni"], catch_exceptions=False)
    with pytest.raises(SettingsError, match=r"augment\.colour"):
        CliRunner().invoke(bench, ["tiny", "--set", "augment.colour=1"], catch_exceptions=False)
