from importlib import import_module
from pathlib import Path

import pytest
import torch
from affect_resnet.face_network import FaceNetwork
from affect_resnet.recipe import RECIPES
from affect_training.config import read_run_file, run_config

from affect.registry import RecipeSpec

RUNS = Path(__file__).parents[3] / "training" / "runs"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_its_defaults_are_settings_of_a_run(recipe: RecipeSpec) -> None:
    config = run_config(recipe)
    assert config.data.normalise == "unit"
    assert config.data.votes
    assert config.model["heads"] == 2
    assert (config.train.schedule, config.train.body_lr_factor, config.train.ema) == ("onecycle", 0.4, 0.998)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_its_network_can_be_built_and_has_a_head(recipe: RecipeSpec) -> None:
    module, _, name = recipe.architecture.partition(":")
    model = getattr(import_module(module), name)(**recipe.model)
    assert isinstance(model, FaceNetwork)
    with torch.inference_mode():
        assert model.eval()(torch.rand(1, 1, 48, 48)).shape == (1, 7)
    assert any(name.startswith("head.") for name, _ in model.named_parameters())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_its_starts_exist(recipe: RecipeSpec) -> None:
    assert recipe.inits
    for place in recipe.inits.values():
        module, _, name = place.partition(":")
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_its_run_file_fits(recipe: RecipeSpec) -> None:
    table = read_run_file(RUNS / f"{recipe.name}.toml")
    assert table["recipe"] == recipe.name
    config = run_config(recipe, table)
    module, _, name = recipe.architecture.partition(":")
    with torch.device("meta"):  # names only, no numbers
        model = getattr(import_module(module), name)(**config.model)
    names = [n for n, _ in model.named_parameters()]
    for prefix in config.train.freeze:
        assert any(n.startswith(prefix) for n in names), prefix
