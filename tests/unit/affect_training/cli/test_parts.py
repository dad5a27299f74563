"""An ensemble recipe: each part is trained in its own folder, and they vote."""

import json
from pathlib import Path
from typing import Any

import pytest
from affect_training.cli.main import cli
from click.testing import CliRunner
from support.tiny import install_tiny, tiny_faces, write_fer2013

from affect.errors import SettingsError

PAIR = ("run", "tiny-pair", "--data", "fer2013.csv", "--device", "cpu", "--init", "none")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def config(part: str) -> dict[str, Any]:
    facts = json.loads((Path("runs/tiny-pair") / part / "run.json").read_text("utf-8"))
    found: dict[str, Any] = facts["config"]
    return found


def test_the_parts_are_trained_and_vote() -> None:
    said = call(*PAIR, "--set", "epochs=1", "--set", "seed=9")
    assert "tiny in runs/tiny-pair/first on cpu" in said
    assert "tiny in runs/tiny-pair/second on cpu" in said
    # What the command changes, changes all parts; what tells them apart stays.
    assert [config(part)["train"]["seed"] for part in ("first", "second")] == [1, 2]
    assert [config(part)["train"]["epochs"] for part in ("first", "second")] == [1, 1]
    assert config("second")["init"] == "none"
    manifest = json.loads(Path("runs/tiny-pair/members.json").read_text("utf-8"))
    assert sorted(member["file"] for member in manifest["members"]) == ["first.safetensors", "second.safetensors"]
    assert (manifest["vote"], manifest["mirror"]) == ("soft", False)


def test_a_second_call_trains_nothing_again() -> None:
    call(*PAIR, "--set", "epochs=1")
    log = Path("runs/tiny-pair/first/log.csv")
    before = log.read_bytes()
    assert call(*PAIR, "--set", "epochs=1").count("resumed") == 2
    assert log.read_bytes() == before


def test_a_dry_run_shows_every_part() -> None:
    said = call(*PAIR, "--dry-run")
    assert said.count('"recipe": "tiny"') == 2
    assert not Path("runs/tiny-pair").exists()


def test_show_lists_the_parts() -> None:
    said = call("show", "tiny-pair")
    assert "equal vote of its parts" in said
    assert '"second"' in said


def test_an_ensemble_is_not_tuned() -> None:
    arguments = ["tune", "tiny-pair", "--data", "fer2013.csv", "--epochs", "1", "--search", "lr=.1,.2"]
    with pytest.raises(SettingsError, match="ensemble of first, second"):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)
