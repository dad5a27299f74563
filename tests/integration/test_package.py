"""What gets installed where there is no checkout: the wheel has everything, and its commands exist."""

import configparser
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command: list[str | Path] = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    folders = ("affect/", "plugins/", "integration/", "training/affect_training/")
    expected = {
        name.removeprefix("plugins/").removeprefix("integration/").removeprefix("training/")
        for name in listed
        if name.startswith(folders) and not name.startswith("plugins/template/")
    }
    assert {"affect_web/index.html", "affect_cnn/weights/compact.safetensors", "affect/assets/astronaut.jpg"} < expected
    missing = {name for name in expected - names if not name.endswith(".md") and "/examples/" not in name}
    assert missing == set()


def test_what_the_wheel_announces_can_be_loaded(wheel: Path) -> None:
    announced = configparser.ConfigParser()
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        announced.read_string(archive.read(name).decode())
    assert set(announced["console_scripts"]) == {"affect", "affect-train", "affect-tutor"}
    assert set(announced["affect"]) == {"builtin", "cnn", "ensemble", "resnet", "seeds"}
    for group in ("console_scripts", "affect"):
        for target in announced[group].values():
            module, _, attribute = target.partition(":")
            loaded = import_module(module)
            assert not attribute or callable(getattr(loaded, attribute))
