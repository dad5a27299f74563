from importlib import import_module

import pytest
from affect_cnn.recipe import NGUYEN2017, NGUYEN2017_PLAIN
from torch import nn

from affect.registry import RecipeSpec


def test_the_settings_are_those_of_the_report() -> None:
    train = NGUYEN2017.train
    assert (train["optimizer"], train["momentum"], train["nesterov"]) == ("sgd", 0.9, True)
    assert (train["l2_kernels"], train["plateau_factor"]) == (1e-3, 0.5)
    assert NGUYEN2017_PLAIN.train["l2_kernels"] == 0
    assert NGUYEN2017_PLAIN.model["batch_norm"] is False


@pytest.mark.parametrize("recipe", [NGUYEN2017, NGUYEN2017_PLAIN], ids=lambda r: r.name)
def test_the_architecture_can_be_built(recipe: RecipeSpec) -> None:
    module, _, name = recipe.architecture.partition(":")
    model = getattr(import_module(module), name)(**recipe.model)
    assert isinstance(model, nn.Module)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) == recipe.model["batch_norm"]
