import json
from pathlib import Path

import pytest
from affect_training.cli.seeds import seeds
from click.testing import CliRunner

from affect.errors import SettingsError


@pytest.fixture
def reports(tmp_path: Path) -> list[str]:
    paths = []
    for k, accuracy in enumerate((0.60, 0.62, 0.64)):
        path = tmp_path / f"seed{k}.json"
        path.write_text(json.dumps({"split": "PublicTest", "tta": "none", "accuracy": accuracy, "ece": 0.03}))
        paths.append(str(path))
    return paths


def test_mean_and_deviation_are_printed_and_written(reports: list[str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "summary.json"
    result = CliRunner().invoke(seeds, [*reports, "--json", str(out)], catch_exceptions=False)
    assert "0.6200" in result.output
    assert "0.0200" in result.output
    found = json.loads(out.read_text())
    assert found["figures"]["accuracy"] == {"mean": pytest.approx(0.62), "sd": pytest.approx(0.02), "n": 3}
    assert [run["values"]["accuracy"] for run in found["runs"]] == [0.60, 0.62, 0.64]


def test_one_run_is_shown_without_a_deviation(reports: list[str]) -> None:
    result = CliRunner().invoke(seeds, reports[:1], catch_exceptions=False)
    assert "0.6000" in result.output


def test_nothing_to_read_is_a_usage_error() -> None:
    result = CliRunner().invoke(seeds, [])
    assert result.exit_code == 2
    assert "RUN_OR_JSON" in result.output


def test_errors_are_of_the_tree(reports: list[str]) -> None:
    with pytest.raises(SettingsError, match="twice"):
        CliRunner().invoke(seeds, [reports[0], reports[0]], catch_exceptions=False)
