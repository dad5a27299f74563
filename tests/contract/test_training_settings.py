"""docs/training-settings.md is what `affect-train settings` prints."""

from pathlib import Path

import pytest
from affect_training.cli.main import cli
from affect_training.config import AugmentConfig, DataConfig, TrainConfig
from click.testing import CliRunner
from pydantic import BaseModel

PAGE = Path(__file__).parents[2] / "docs" / "training-settings.md"


def test_the_page_has_the_table_that_the_command_prints() -> None:
    result = CliRunner().invoke(cli, ["settings"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("model", [DataConfig, AugmentConfig, TrainConfig])
def test_every_setting_says_what_it_means(model: type[BaseModel]) -> None:
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_defaults_and_limits_are_those_of_the_code() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = {cells[1].strip(): cells[2:4] for line in lines if len(cells := line.split("|")) == 6}
    assert rows["`train.warmup`"] == ["  ", " ≥ 0, < 1 "]
    assert rows["`augment.zoom`"] == [" `[1, 1]` ", "  "]
    assert rows["`train.nesterov`"] == [" `true` ", "  "]
    assert rows["`train.lr`"] == [" the recipe's ", " > 0 "]
    assert rows["`train.seed`"] == [" `0` ", " ≥ 0, < 4294967296 "]
