import json
from pathlib import Path
from typing import Any

import pytest
from affect_training.config import TABLES, parse_assignments, read_run_file, run_config
from support.tiny import TINY

from affect.errors import SettingsError
from affect.plugins import PluginHost
from affect.registry import RecipeSpec

RUNS = Path(__file__).parents[3] / "training" / "runs"
RECIPE = RecipeSpec(
    "r",
    "m:C",
    "",
    "",
    model={"dropout": 0.2},
    augment={"mirror": True},
    train={"epochs": 10, "batch_size": 32, "lr": 0.1},
)


def test_a_recipe_alone_is_a_run() -> None:
    run = run_config(RECIPE)
    assert run.recipe == "r"
    assert run.model == {"dropout": 0.2}
    assert (run.train.epochs, run.train.lr, run.augment.mirror) == (10, 0.1, True)
    assert (run.train.optimizer, run.train.momentum, run.train.seed) == ("sgd", 0.9, 0)
    assert (run.init, run.data.normalise, run.data.aux) == ("none", "measured", ())


def test_later_tables_win_key_by_key() -> None:
    run = run_config(
        RECIPE,
        {"recipe": "r", "train": {"lr": 0.2, "seed": 1}, "model": {"width": 3}, "init": "imagenet"},
        {"train": {"lr": 0.3}, "model": {"dropout": 0.5}, "augment": {"shift": 0.1}, "data": {"votes": True}},
        {},
    )
    assert (run.train.lr, run.train.seed, run.train.epochs) == (0.3, 1, 10)
    assert run.model == {"dropout": 0.5, "width": 3}
    assert (run.augment.mirror, run.augment.shift, run.data.votes) == (True, 0.1, True)
    assert run.init == "imagenet"
    assert RECIPE.model == {"dropout": 0.2}  # the recipe itself is left alone
    assert RECIPE.train["lr"] == 0.1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"train": {"learning_rate": 1}}, "learning_rate: Extra inputs"),
        ({"train": {"lr": 0}}, "lr: "),
        ({"train": {"epochs": 0}}, "epochs: "),
        ({"train": {"momentum": 1.0}}, "momentum: "),
        ({"train": {"momentum": 0}}, "train: .*nesterov looks ahead .* set nesterov = false too"),
        ({"train": {"warmup": 0.1, "schedule": "plateau"}}, "train: .*of cosine and onecycle, not of plateau"),
        ({"train": {"balance": "smote", "class_weights": "balanced"}}, "train: .*class_weights nothing to do"),
        ({"train": {"balance": "oversample", "logit_adjustment": 1}}, "train: .*logit_adjustment nothing to do"),
        ({"train": {"lr": float("inf")}}, "train.lr: "),
        ({"train": {"lr": float("nan")}}, "train.lr: "),
        ({"train": {"seed": -1}}, "train.seed: "),
        ({"train": {"seed": 2**32}}, "train.seed: "),
        ({"train": {"optimizer": "lion"}}, "train.optimizer: "),
        ({"train": {"plateau_factor": 1.0}}, "train.plateau_factor: "),
        ({"train": {"mirror": True}}, "train.mirror: Extra inputs"),
        ({"augment": {"zoom": [1.2, 0.8]}}, "augment: .*zoom is \\(smallest, largest\\)"),
        ({"augment": {"zoom": [0.1, 1.0]}}, "augment: .*zoom is"),
        ({"augment": {"size": 56}}, "augment.size: "),
        ({"augment": {"mixup": 50}}, "augment.mixup: "),
        ({"data": {"normalise": "imagenet"}}, "data.normalise: "),
        ({"data": {"aux_weight": 0}}, "data.aux_weight: "),
        ({"data": {"holdout": 0.6}}, "data.holdout: "),
        ({"training": {}, "optim": {}}, "a run has the tables model, data, augment, train, not optim, training"),
        ({"train": 3}, "train is a table, \\[train\\], not 3"),
        ({"init": 3}, "init: "),
    ],
)
def test_what_no_run_knows_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        run_config(RECIPE, table)


def test_a_warmup_of_nothing_is_none() -> None:
    assert run_config(RECIPE, {"train": {"warmup": 0.0}}).train.warmup is None
    assert run_config(RECIPE, {"train": {"warmup": 0.0, "schedule": "cosine"}}).train.warmup == 0


def test_nesterov_without_momentum_matters_to_sgd_alone() -> None:
    run_config(RECIPE, {"train": {"momentum": 0, "nesterov": False}})
    assert run_config(RECIPE, {"train": {"momentum": 0, "optimizer": "adam"}}).train.nesterov


def test_a_recipe_without_epochs_is_refused() -> None:
    with pytest.raises(SettingsError, match="epochs: Field required"):
        run_config(RecipeSpec("r", "m:C", "", "", train={"batch_size": 1, "lr": 1}))


@pytest.mark.parametrize("recipe", [r for r in PluginHost().recipes if not r.parts], ids=lambda r: r.name)
def test_every_installed_recipe_is_a_run(recipe: RecipeSpec) -> None:
    found = run_config(recipe).model_dump(mode="json")
    for table in TABLES:
        defaults = json.loads(json.dumps(dict(getattr(recipe, table))))
        assert {key: found[table][key] for key in defaults} == defaults


# Run files


def test_there_are_run_files() -> None:
    assert len(list(RUNS.glob("*.toml"))) > 20


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_run_files_are_runs(path: Path) -> None:
    table = read_run_file(path)
    recipes = PluginHost().recipes
    recipe = recipes.get(table["recipe"])
    own = {key: value for key, value in table.items() if key != "recipe"}
    for part in recipe.parts.values() or [table]:
        assert run_config(recipes.get(part["recipe"]), part, own).recipe == part["recipe"]


def test_a_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('recipe = "r"\n[train]\nlr = 0.5\n[model]\ndropout = 0.1\n', encoding="utf-8")
    table = read_run_file(path)
    assert table == {"recipe": "r", "train": {"lr": 0.5}, "model": {"dropout": 0.1}}
    assert run_config(RECIPE, table).train.lr == 0.5


@pytest.mark.parametrize("text", ["[train]\nlr = 1", "recipe = ", "", 'recipe = "\xfc"'])
def test_a_bad_run_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(text.encode("latin-1"))
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
            "augment.mirror=false",
            "augment.zoom=[.9, 1.1]",
            "optimizer=adam",
            'model.name="a=b .5"',
            "model.place=./a.5",
            "model.rate=-.25",
            'data.aux=["x"]',
        )
    )
    assert tables == {
        "train": {"lr": 0.02, "epochs": 3, "optimizer": "adam"},
        "model": {"dropout": 0.5, "name": "a=b .5", "place": "./a.5", "rate": -0.25},
        "augment": {"mirror": False, "zoom": [0.9, 1.1]},
        "data": {"aux": ["x"]},
    }


def test_no_assignments_change_nothing() -> None:
    assert run_config(RECIPE, parse_assignments(())) == run_config(RECIPE)


@pytest.mark.parametrize("pair", ["lr", "optim.path=1", "train.sgd.lr=1"])
def test_what_is_no_assignment_is_refused(pair: str) -> None:
    with pytest.raises(SettingsError, match=pair.partition("=")[0]):
        parse_assignments((pair,))


@pytest.mark.parametrize("recipe", [r for r in PluginHost().recipes if not r.parts], ids=lambda r: r.name)
def test_what_a_recipe_freezes_does_not_begin_at_random(recipe: RecipeSpec) -> None:
    found = run_config(recipe)
    assert found.init != "none" or not found.train.freeze
    assert found.init == "none" or found.init in recipe.inits
    assert run_config(recipe, {"init": "none"}).init == "none"


def test_l2_in_the_loss_and_adamw_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="which adamw keeps its decay out of"):
        run_config(TINY, {"train": {"l2_kernels": 1e-4, "optimizer": "adamw"}})
