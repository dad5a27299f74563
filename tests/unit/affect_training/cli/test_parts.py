"""An ensemble recipe: each part is trained in its own folder, and they vote."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from affect_training.cli.main import cli
from click.testing import CliRunner
from safetensors.torch import save_file
from support.tiny import Tiny, install_tiny, tiny_faces, write_fer2013

from affect.errors import SettingsError
from affect.labels import EMOTIONS

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
    said = call(*PAIR, "--set", "epochs=1", "--set", "parts.second.seed=9")
    assert "tiny in runs/tiny-pair/first on cpu" in said
    assert "tiny in runs/tiny-pair/second on cpu" in said
    # What the command changes, changes all parts; what tells them apart is changed in each.
    assert [config(part)["train"]["seed"] for part in ("first", "second")] == [1, 9]
    assert [config(part)["train"]["epochs"] for part in ("first", "second")] == [1, 1]
    assert config("second")["init"] == "none"
    manifest = json.loads(Path("runs/tiny-pair/members.json").read_text("utf-8"))
    assert sorted(member["file"] for member in manifest["members"]) == ["first.safetensors", "second.safetensors"]
    assert (manifest["vote"], manifest["mirror"]) == ("soft", False)


def test_going_back_is_for_one_run() -> None:
    with pytest.raises(SettingsError, match="--from-epoch goes back in one run; name a part of tiny-pair"):
        call(*PAIR, "--from-epoch", "1")
    assert not Path("runs").exists()


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


def test_a_part_may_have_settings_of_its_own() -> None:
    call(*PAIR, "--set", "epochs=1", "--set", "parts.second.model.width=2", "--set", "parts.second.lr=.5")
    assert [config(part)["model"]["width"] for part in ("first", "second")] == [4, 2]
    assert [config(part)["train"]["lr"] for part in ("first", "second")] == [0.01, 0.5]


def test_a_part_in_a_run_file() -> None:
    Path("pair.toml").write_text('recipe = "tiny-pair"\n[train]\nepochs = 1\n[parts.first.model]\ndropout = 0.0\n')
    said = call("run", "tiny-pair", "--run-file", "pair.toml", "--init", "none", "--dry-run")
    assert said.count('"dropout": 0.0') == 1
    assert said.count('"epochs": 1') == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "parts.third.lr=1"), "has the parts first, second, not third"),
        (("--set", "parts.second.model.depth=1"), "part second: model of affect_tiny:Tiny: .*depth"),
        (("--init", "imagenet"), "no part of tiny-pair knows it"),
        (("--set", "seed=9"), "train.seed is what tells the parts of tiny-pair apart: set parts.PART.train.seed"),
        (("--set", "data.holdout=.2", "--set", "parts.first.data.holdout=.1"), "the same data.holdout"),
    ],
)
def test_what_fits_no_part_is_refused_before_any_is_trained(arguments: tuple[str, ...], said: str) -> None:
    command = ["run", "tiny-pair", "--data", "fer2013.csv", "--device", "cpu", *arguments]
    if "--init" not in arguments:
        command += ["--init", "none"]
    with pytest.raises(SettingsError, match=said):
        CliRunner().invoke(cli, command, catch_exceptions=False)
    assert not Path("runs/tiny-pair").exists()


def test_parts_on_other_data_say_what_that_is_and_vote_on_what_was_held_out() -> None:
    training = tiny_faces().split("Training")
    for number, (image, label) in enumerate(zip(training.images, training.labels, strict=True)):
        place = Path("mine/train") / EMOTIONS[label].value / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), image)
    other = [argument if argument != "fer2013.csv" else "mine" for argument in PAIR]
    other += ["--set", "epochs=1", "--set", "data.holdout=.2"]
    with pytest.raises(SettingsError, match="--about TEXT"):
        CliRunner().invoke(cli, other, catch_exceptions=False)
    call(*other, "--about", "my own faces")
    manifest = json.loads(Path("runs/tiny-pair/members.json").read_text("utf-8"))
    assert manifest["metrics"]["accuracy"]["n"] == pytest.approx(0.2 * 64, abs=5)
    assert "my own faces" in json.loads(Path("runs/tiny-pair/first.json").read_text("utf-8"))["data"]


def test_only_the_first_process_writes_the_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    call(*PAIR, "--set", "epochs=1")
    vote = Path("runs/tiny-pair/members.json")
    vote.unlink()
    monkeypatch.setenv("LOCAL_RANK", "1")
    call(*PAIR, "--set", "epochs=1", "--devices", "2")
    assert not vote.exists()
    call(*PAIR, "--set", "epochs=1")  # alone, whatever its launcher says
    assert vote.exists()


def test_about_is_for_parts_only() -> None:
    with pytest.raises(SettingsError, match="for the parts of an ensemble"):
        CliRunner().invoke(cli, ["run", "tiny", "--data", "fer2013.csv", "--about", "x"], catch_exceptions=False)


def test_resume_goes_on_with_the_parts_that_were_not_begun() -> None:
    resume = [*PAIR, "--set", "epochs=1", "--resume"]
    with pytest.raises(SettingsError, match="tiny-pair has no checkpoint"):
        CliRunner().invoke(cli, [*resume, "--out", "runs/tiny-pair"], catch_exceptions=False)
    assert not Path("runs/tiny-pair").exists()
    call(*PAIR, "--set", "epochs=1")
    shutil.rmtree("runs/tiny-pair/second")
    said = call(*resume)
    assert "first on cpu (" in said
    assert said.count("resumed") == 1
    assert Path("runs/tiny-pair/second/last.ckpt").exists()


def test_a_start_that_does_not_fit_its_part_is_refused_before_any_is_trained() -> None:
    save_file(Tiny(width=4).state_dict(), "start.safetensors")
    starts = ("--set", "epochs=1", "--set", "parts.second.init=start.safetensors")
    with pytest.raises(SettingsError, match=r"tiny-pair, part second: --init start\.safetensors: does not fit Tiny"):
        call(*PAIR, *starts, "--set", "parts.second.model.width=6")
    assert not Path("runs/tiny-pair").exists()
    with pytest.raises(SettingsError, match=r"part second: --init gone\.safetensors: No such file"):
        call(*PAIR, "--set", "parts.second.init=gone.safetensors")
    call(*PAIR, *starts)
    assert [config(part)["init"] for part in ("first", "second")] == ["none", "start.safetensors"]


def test_frozen_layers_of_a_random_start_are_told_of() -> None:
    said = call(
        "run", "tiny", "--data", "fer2013.csv", "--device", "cpu", "--set", "epochs=1", "--set", 'freeze=["conv"]'
    )
    assert "what is frozen stays as it was drawn" in said
    assert "frozen" not in call(
        "run", "tiny", "--data", "fer2013.csv", "--device", "cpu", "--set", "epochs=1", "--fresh"
    )


def test_what_is_said_last_of_the_start_counts() -> None:
    Path("pair.toml").write_text('recipe = "tiny-pair"\ninit = "imagenet"\n[train]\nepochs = 1\n')
    said = call("run", "tiny-pair", "--run-file", "pair.toml", "--init", "none", "--dry-run")
    assert said.count('"init": "none"') == 2
    Path("pair.toml").write_text('recipe = "tiny-pair"\nparts.first = 3\n')
    with pytest.raises(SettingsError, match=r"parts\.first is a table"):
        call("run", "tiny-pair", "--run-file", "pair.toml", "--dry-run")
