import logging
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from affect_training.cli import main as module
from affect_training.cli.main import COMMANDS, cli, main
from click.testing import CliRunner
from support.tiny import install_tiny, tiny_faces, write_fer2013

from affect.errors import SettingsError


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the process's memory nor its loggers are changed for the tests that follow."""
    monkeypatch.setattr(module, "keep_freed_memory", lambda: True)
    ours = logging.getLogger("affect_training")
    monkeypatch.setattr(ours, "handlers", list(ours.handlers))
    monkeypatch.setattr(ours, "level", ours.level)


def test_every_command_is_there_and_says_what_it_does() -> None:
    result = CliRunner().invoke(cli, ["--help"], catch_exceptions=False)
    assert result.exit_code == 0
    shown = {line.split()[0] for line in result.output.partition("Commands:")[2].splitlines() if line.strip()}
    assert shown >= set(COMMANDS)
    for name, place in COMMANDS.items():
        file, _, attribute = place.partition(":")
        command = getattr(import_module(f"affect_training.cli.{file}"), attribute)
        assert isinstance(command, click.Command)
        assert command.name == name
        assert command.help


def test_help_of_all_commands_loads_nothing_heavy() -> None:
    code = (
        "import sys; from affect_training.cli.main import cli; cli(['--help'], standalone_mode=False)\n"
        "sys.exit(str({'torch', 'lightning', 'matplotlib', 'optuna', 'captum', 'sklearn', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_a_recipe_alone_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)
    one = CliRunner().invoke(cli, ["tiny", "--dry-run"], catch_exceptions=False)
    other = CliRunner().invoke(cli, ["run", "tiny", "--dry-run"], catch_exceptions=False)
    assert one.exit_code == 0
    assert one.output == other.output


def test_what_is_neither_command_nor_recipe_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["tinny"])
    assert result.exit_code == 2
    assert "No such command 'tinny'" in result.output


def call(monkeypatch: pytest.MonkeyPatch, error: Exception) -> int:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "cli", fail)
    with pytest.raises(SystemExit) as caught:
        main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_errors_of_ours_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, SettingsError("train.lr: too large")) == 1
    assert capsys.readouterr().err == "affect-train: train.lr: too large [bad_setting]\n"


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, ModuleNotFoundError("No module named 'lightning'", name="lightning")) == 1
    assert capsys.readouterr().err == (
        "affect-train: the package lightning is missing: pip install '.[train]' in a checkout\n"
    )


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'affect_x'", name="affect_x"), ZeroDivisionError("a defect")]
)
def test_defects_are_not_hidden(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "cli", fail)
    with pytest.raises(type(error)):
        main()


def test_what_takes_its_time_is_said_on_stderr(tmp_path: Path) -> None:
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())
    arguments = ["data", "leaks", "--data", "fer2013.csv"]
    looking = "looking for the 64 faces of Training among the 21 of PublicTest"
    for number, said in (({}, looking), ({"LOCAL_RANK": "1"}, ""), ({"SLURM_PROCID": "3"}, "")):
        environment = {**os.environ, **number}
        done = subprocess.run(
            [sys.executable, "-c", "from affect_training.cli.main import main; main()", *arguments],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env=environment,
        )
        assert said in done.stderr
        assert bool(done.stderr) == bool(said)
        assert "looking" not in done.stdout
