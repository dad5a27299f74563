import json

import pytest
from affect_training.cli.main import cli
from click.testing import CliRunner
from support.tiny import install_tiny

from affect.errors import PluginError
from affect.plugins import PluginHost


def call(*arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_all_recipes_are_listed_with_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)
    output = call("list")
    assert [name for name in PluginHost().recipes.names() if name not in output] == []
    row = next(line for line in output.splitlines() if " nguyen2017 " in line)
    assert "64-65 %" in row
    assert "cnn" in row


def test_a_recipe_is_shown_with_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    install_tiny(monkeypatch)
    output = call("show", "tiny")
    head, _, settings = output.partition("\n{")
    assert head.splitlines() == [
        "tiny: a network for tests",
        "source: our own",
        "published: nothing, our own",
        "architecture: affect_tiny:Tiny",
        "init: none, FILE.safetensors; none by default",
    ]
    shown = json.loads("{" + settings)
    assert (shown["train"]["lr"], shown["augment"]["mirror"]) == (0.01, False)


def test_a_recipe_nobody_has_is_an_error_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match=r"no recipe 'nguyen2018'; did you mean 'nguyen2017'"):
        call("show", "nguyen2018")
