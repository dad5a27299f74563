from pathlib import Path

import pytest
from affect_training.cli.tune import tune
from affect_training.config import read_run_file
from affect_training.search_space import parse_space
from click.testing import CliRunner, Result
from support.tiny import install_tiny, tiny_faces, write_fer2013

from affect.errors import AffectError


@pytest.fixture(autouse=True)
def _a_place_with_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install_tiny(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFFECT_FER2013", str(write_fer2013(tmp_path / "fer2013.csv", tiny_faces())))


def call(*arguments: str, error: str = "") -> Result:
    """Run `tune tiny`; with `error` it must fail with that in its message."""
    result = CliRunner().invoke(tune, ["tiny", "--epochs", "1", "--device", "cpu", *arguments])
    if error:
        assert isinstance(result.exception, AffectError | SystemExit), result.output
        assert error in str(getattr(result.exception, "message", result.output))
    else:
        assert result.exit_code == 0, result.output + str(result.exception)
    return result


def test_the_same_command_goes_on_and_prints_the_table(tmp_path: Path) -> None:
    search = ("--search", "lr=log:0.001:0.1", "--search", "model.width=2,4")
    first = call(*search, "--trials", "2", "--set", "augment.mirror=true").output
    assert "2 trials of 1 epochs" in first
    again = call(*search, "--trials", "4", "--set", "augment.mirror=true").output
    assert [line[:9] for line in again.splitlines() if line.startswith("trial ")] == ["trial   2", "trial   3"]
    assert "importance" in again
    folder = tmp_path / "runs" / "tune" / "tiny-tpe"
    best = read_run_file(folder / "best.toml")
    assert best["recipe"] == "tiny"
    assert best["augment"] == {"mirror": True}
    assert set(best["model"]) == {"width"}
    assert (folder / "importance.png").exists()


def test_a_grid_needs_no_number_of_trials_and_starts_from_a_run_file(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('recipe = "tiny"\n[train]\nepochs = 9\nlr = 0.5\n', encoding="utf-8")
    said = call(
        "--search", "lr=0.01,0.02,0.03", "--method", "grid", "--run-file", "base.toml", "--study", "mine"
    ).output
    assert "3 trials" in said
    best = read_run_file(tmp_path / "runs" / "tune" / "mine" / "best.toml")
    assert best["train"]["epochs"] == 9
    assert best["train"]["lr"] in (0.01, 0.02, 0.03)


def test_wrong_words_are_answered_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('recipe = "nguyen2017"\n', encoding="utf-8")
    call("--search", "lr=1", "--run-file", "other.toml", error="a run of another recipe")
    call("--search", "lr", error="KEY=VALUES")
    call("--search", "lr=0.1:0.2", "--method", "grid", error="a grid wants a list")
    call("--search", "epochs=1,2", error="--epochs N")
    call("--search", "lr=0.1,0.2", "--prune", "sometimes", error="not one of")
    assert not (tmp_path / "runs").exists()


def test_all_trials_begin_where_init_says() -> None:
    arguments = ("--search", "lr=0.01,0.02", "--method", "grid")
    call(*arguments, "--init", "nowhere.safetensors", error="nowhere.safetensors")
    said = call(*arguments, "--init", "none", "--study", "scratch").output
    assert "2 trials" in said


@pytest.mark.parametrize("search", ["select=accuracy,balanced", "data.holdout=0.1,0.2"])
def test_trials_are_judged_alike(search: str) -> None:
    call("--search", search, error="judged alike")


def test_a_grid_in_another_order_is_another_study() -> None:
    arguments = ("--search", "lr=0.01,0.02", "--search", "model.width=2,4", "--method", "grid", "--trials", "1")
    call(*arguments)
    call(*arguments[2:4], *arguments[:2], *arguments[4:], error="other settings (order)")


def test_numbers_may_begin_with_their_point() -> None:
    assert parse_space(["model.dropout=.1,.2"])["model.dropout"].grid() == [0.1, 0.2]
