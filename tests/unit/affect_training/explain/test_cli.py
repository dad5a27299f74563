from importlib import resources
from pathlib import Path

import pytest
from affect_training.cli.explain import explain
from click.testing import CliRunner, Result

from affect.errors import AffectError


def call(*arguments: object) -> Result:
    return CliRunner().invoke(explain, [str(a) for a in arguments])


def test_the_bundled_network_on_a_photograph(tmp_path: Path) -> None:
    with resources.as_file(resources.files("affect.assets") / "astronaut.jpg") as picture:
        result = call("cnn", picture, "-o", tmp_path, "--what", "filters,gradcam", "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == str(tmp_path / "explain.html")
    assert {path.name for path in tmp_path.glob("*.svg")} == {"filters.svg", "astronaut.gradcam.svg"}


@pytest.mark.parametrize("backend", ["compact", "resnet", "mobilenet-face"])
def test_every_network_that_ships_can_be_looked_into(backend: str, tmp_path: Path) -> None:
    arguments = ("--what", "filters,activations,gradcam", "--layers", 3, "--device", "cpu")
    with resources.as_file(resources.files("affect.assets") / "astronaut.jpg") as picture:
        result = call(backend, picture, "-o", tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    drawn = {"filters.svg", "astronaut.activations.svg", "astronaut.gradcam.svg"}
    assert {path.name for path in tmp_path.glob("*.svg")} == drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cnn", "--what", "filters,dreams"), "expected some of filters,activations,gradcam,occlusion,deepdream, got"),
        (("cnn", "--what", "occlusion"), "need a face"),
        (("cnn", "missing.png"), "no such file"),
        (("nobody",), "no backend 'nobody'"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    result = call(*arguments, "-o", tmp_path, "--device", "cpu")
    assert isinstance(result.exception, AffectError)
    assert message in result.exception.message
