"""The recipes are registered, agree with the training configuration, and have a run file that gives them again."""

import subprocess
import sys
from pathlib import Path

import pytest
from affect_seeds import plugin
from affect_training.config import read_run_file, run_config

from affect.plugins import PluginHost
from affect.registry import RecipeSpec

NAMES = [
    "auc-baseline", "auc-resnet50", "auc-senet50", "auc-vgg16", "stanford-deep", "stanford-deep-hog",
    "stanford-shallow", "stanford-shallow-hog", "trial1", "trial2", "ucu-baseline", "vgg19",
]  # fmt: skip
RUNS = Path(__file__).parents[3] / "training" / "runs"


def test_all_are_registered_with_their_source_and_figure(plugin_host: PluginHost) -> None:
    found: list[RecipeSpec] = []
    plugin.register_recipes(found.append)
    assert sorted(r.name for r in found) == sorted([*NAMES, "auc-ensemble"])
    assert all(r.source and r.published for r in found)
    for recipe in found:
        assert plugin_host.recipes.get(recipe.name) is recipe
        assert plugin_host.recipes.provenance(recipe.name).plugin == "seeds"


def test_registering_needs_no_torch() -> None:
    code = "import sys, affect_seeds.plugin; sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_training_configuration(name: str, recipes: dict[str, RecipeSpec]) -> None:
    config = run_config(recipes[name])
    assert config.model == dict(recipes[name].model)
    assert config.train.epochs == recipes[name].train["epochs"]


@pytest.mark.parametrize("name", NAMES)
def test_the_run_file_gives_the_recipe(name: str, recipes: dict[str, RecipeSpec]) -> None:
    path = RUNS / f"{name}.toml"
    table = read_run_file(path)
    config = run_config(recipes[name], table)
    assert table["recipe"] == name
    assert config.train == run_config(recipes[name]).train.model_copy(update={"seed": 0})
    assert (config.data, config.augment) == (run_config(recipes[name]).data, run_config(recipes[name]).augment)
    assert config.init == ("imagenet" if recipes[name].inits else "none")
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert f"affect-train run {name} --run-file training/runs/{name}.toml" in first


def test_printed_settings(recipes: dict[str, RecipeSpec]) -> None:
    """What the documents print, taken from them a second time."""
    printed: dict[str, dict[str, object]] = {
        "stanford-deep": {"lr": 0.01, "l2_kernels": 1e-7},
        "auc-resnet50": {"optimizer": "sgd", "lr": 0.01, "batch_size": 128, "epochs": 122},
        "auc-senet50": {"optimizer": "sgd", "lr": 0.01, "batch_size": 128, "epochs": 122},
        "auc-vgg16": {"optimizer": "adam", "epochs": 100},
        "trial1": {
            "optimizer": "adam", "lr": 0.001, "batch_size": 64, "epochs": 100, "stop_epochs": 12,
            "class_weights": "balanced",
        },
        "trial2": {"optimizer": "adam", "lr": 0.001, "batch_size": 128, "epochs": 50, "stop_epochs": 12},
        "vgg19": {"optimizer": "sgd", "lr": 0.001, "batch_size": 32, "epochs": 50, "stop_epochs": 12},
    }  # fmt: skip
    for name, expected in printed.items():
        train = run_config(recipes[name]).train.model_dump()
        assert {key: train[key] for key in expected} == expected, name
    augment = run_config(recipes["auc-vgg16"]).augment
    assert (augment.mirror, augment.rotation_deg, augment.zoom, augment.shift) == (True, 10.0, (0.9, 1.1), 0.1)
    assert run_config(recipes["stanford-shallow"]).augment.mirror


def test_every_pretrained_start_has_a_note_for_the_model_card(recipes: dict[str, RecipeSpec]) -> None:
    for recipe in recipes.values():
        assert set(recipe.init_notes) == set(recipe.inits)
        assert all("icence" in note for note in recipe.init_notes.values())


def test_the_ensemble_has_its_seven_members(recipes: dict[str, RecipeSpec]) -> None:
    parts = recipes["auc-ensemble"].parts
    assert len(parts) == 7
    configs = {name: run_config(recipes[part["recipe"]], part) for name, part in parts.items()}
    balanced = {name for name, config in configs.items() if config.train.class_weights == "balanced"}
    assert balanced == {"vgg16-cw", "senet50-cw", "resnet50-cw"}
    assert {name for name, config in configs.items() if config.init == "none"} == {"baseline"}
    assert read_run_file(RUNS / "auc-ensemble.toml") == {"recipe": "auc-ensemble"}
