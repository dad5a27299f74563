from pathlib import Path
from typing import Any

import pytest
from affect_cnn.recipe import NGUYEN2017, NGUYEN2017_PLAIN
from affect_training.config import parse_assignments, read_run_file, run_config

from affect.errors import SettingsError
from affect.registry import RecipeSpec

RECIPE = RecipeSpec(
    "r",
    "m:C",
    "",
    "",
    model={"dropout": 0.2},
    train={"epochs": 10, "batch_size": 32, "lr": 0.1, "mirror": False},
)


def test_a_recipe_alone_is_a_run() -> None:
    run = run_config(RECIPE)
    assert run.recipe == "r"
    assert run.model == {"dropout": 0.2}
    assert (run.train.epochs, run.train.lr, run.train.mirror) == (10, 0.1, False)
    assert (run.train.optimizer, run.train.momentum, run.train.seed) == ("sgd", 0.9, 0)


def test_later_tables_win_key_by_key() -> None:
    run = run_config(
        RECIPE,
        {"recipe": "r", "train": {"lr": 0.2, "seed": 1}, "model": {"width": 3}},
        {"train": {"lr": 0.3}, "model": {"dropout": 0.5}},
    )
    assert (run.train.lr, run.train.seed, run.train.epochs) == (0.3, 1, 10)
    assert run.model == {"dropout": 0.5, "width": 3}
    assert RECIPE.model == {"dropout": 0.2}  # the recipe itself is left alone
    assert RECIPE.train["lr"] == 0.1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"learning_rate": 1}}, "learning_rate: Extra inputs"),
        ({"train": {"lr": 0}}, "lr: "),
        ({"train": {"epochs": 0}}, "epochs: "),
        ({"train": {"momentum": 1.0}}, "momentum: "),
        ({"train": {"optimizer": "adamw"}}, "optimizer: "),
        ({"train": {"plateau_factor": 1.0}}, "plateau_factor: "),
        ({"training": {}, "data": {}}, "a run has the tables model and train, not data, training"),
    ],
)
def test_what_no_run_knows_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        run_config(RECIPE, table)


def test_a_recipe_without_epochs_is_refused() -> None:
    with pytest.raises(SettingsError, match="epochs: Field required"):
        run_config(RecipeSpec("r", "m:C", "", "", train={"batch_size": 1, "lr": 1}))


@pytest.mark.parametrize("recipe", [NGUYEN2017, NGUYEN2017_PLAIN], ids=lambda r: r.name)
def test_the_bundled_recipes_are_runs(recipe: RecipeSpec) -> None:
    assert run_config(recipe).train.model_dump(include=set(recipe.train)) == recipe.train


# Run files


def test_a_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('recipe = "r"\n[train]\nlr = 0.5\n[model]\ndropout = 0.1\n', encoding="utf-8")
    table = read_run_file(path)
    assert table == {"recipe": "r", "train": {"lr": 0.5}, "model": {"dropout": 0.1}}
    assert run_config(RECIPE, table).train.lr == 0.5


@pytest.mark.parametrize("text", ["[train]\nlr = 1", "recipe = ", ""])
def test_a_bad_run_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_run_file(path)
    assert caught.value.message.startswith(f"{path}: ")


def test_a_missing_run_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml"):
        read_run_file(tmp_path / "missing.toml")


# --set


def test_assignments_are_typed_and_go_to_train_by_default() -> None:
    tables = parse_assignments(
        (
            "lr=0.02",
            "train.epochs=3",
            "model.dropout=0.5",
            "mirror=false",
            "optimizer=adam",
            'model.name="a=b"',
        )
    )
    assert tables == {
        "train": {"lr": 0.02, "epochs": 3, "mirror": False, "optimizer": "adam"},
        "model": {"dropout": 0.5, "name": "a=b"},
    }


def test_no_assignments_change_nothing() -> None:
    assert run_config(RECIPE, parse_assignments(())) == run_config(RECIPE)


@pytest.mark.parametrize("pair", ["lr", "data.path=1", "train.sgd.lr=1"])
def test_what_is_no_assignment_is_refused(pair: str) -> None:
    with pytest.raises(SettingsError, match=pair.partition("=")[0]):
        parse_assignments((pair,))
