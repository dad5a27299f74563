"""Cards and the table over all backends, measured on a data set of synthetic faces."""

import json
from pathlib import Path

import pytest
from affect_training.cli.main import cli
from click.testing import CliRunner
from support.tiny import tiny_faces, write_fer2013

from affect.errors import SettingsError

SHIPPED = Path(__file__).resolve().parents[4] / "docs" / "models" / "figures"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_fer2013(tmp_path / "fer2013.csv", tiny_faces())


def test_a_backend_is_measured_and_described() -> None:
    result = CliRunner().invoke(cli, ["models", "cnn", "--data", "fer2013.csv", "-o", "models"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    single, speed = (
        json.loads(Path(f"models/figures/cnn.{kind}.json").read_text("utf-8")) for kind in ("single", "speed")
    )
    assert (single["n"], single["tta"]) == (21, "none")
    assert speed["batch_1"] > 0
    assert speed["batch_8"] > 0
    row = next(
        line for line in Path("models/README.md").read_text("utf-8").splitlines() if line.startswith("| [`cnn`]")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1] == "5.0 M"
    assert cells[4].startswith(f"{single['accuracy']:.1%} (")
    unseen = json.loads(Path("models/figures/cnn.unseen.json").read_text("utf-8"))
    assert unseen["unseen"]
    assert cells[6].startswith(f"{unseen['accuracy']:.1%} (")
    card = Path("models/cnn.md").read_text("utf-8")
    assert "It must not be used for:" in card
    assert "## Whole pictures" in card
    again = CliRunner().invoke(cli, ["models", "cnn", "-o", "models", "--no-measure"], catch_exceptions=False)
    assert again.exit_code == 0
    assert row in Path("models/README.md").read_text("utf-8")


def test_what_was_not_measured_is_not_written() -> None:
    with pytest.raises(SettingsError, match=r"there is no .*cnn\.single\.json"):
        CliRunner().invoke(cli, ["models", "cnn", "-o", "models", "--no-measure"], catch_exceptions=False)
    assert not Path("models/README.md").exists()


def test_what_has_been_measured_stays_in_the_table() -> None:
    names = ("compact", "cnn")
    for kind in ("single", "mirror", "unseen", "whole", "speed"):
        shipped = SHIPPED / f"compact.{kind}.json"
        place = Path("models/figures") / shipped.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(shipped.read_bytes())
    arguments = ["models", "cnn", "--data", "fer2013.csv", "-o", "models"]
    CliRunner().invoke(cli, arguments, catch_exceptions=False)
    table = Path("models/README.md").read_text("utf-8")
    assert all(f"| [`{name}`]" in table for name in names)
    assert "`resnet`" not in table
    with pytest.raises(SettingsError, match=r"no weights of nobody; there are those of cnn, compact"):
        CliRunner().invoke(cli, ["models", "nobody", "-o", "models", "--no-measure"], catch_exceptions=False)
