"""The networks from scratch: layers as printed, parameter counts by hand, shapes, both modes."""

from importlib import import_module

import pytest
import torch
from affect_seeds.report003 import Trial1, Trial2
from torch import nn

from affect.registry import RecipeSpec

# Counted by hand: kernels + biases, batch norm 2 a channel, dense layers.
PARAMETERS = {
    "stanford-shallow": (320 + 64) + (18_496 + 128) + (64 * 12 * 12 * 512 + 512 + 1024) + 3591,
    "stanford-deep": (3200 + 128) + (204_928 + 256) + (590_336 + 1024) + (512 * 36 * 256 + 256 + 512)
    + (131_584 + 1024) + 3591,
    "stanford-shallow-hog": (320 + 64) + (18_496 + 128) + ((64 * 12 * 12 + 900) * 512 + 512 + 1024) + 3591,
    "stanford-deep-hog": (3200 + 128) + (204_928 + 256) + (590_336 + 1024) + ((512 * 36 + 900) * 256 + 256 + 512)
    + (131_584 + 1024) + 3591,
    "auc-baseline": 320 + 3 * 9248 + 4 * 64 + (4608 * 1024 + 1024 + 2048) + 7175,
    "trial1": 320 + 18_496 + 73_856 + (2048 * 128 + 128) + 903,
    "trial2": 320 + 9248 + 18_496 + 36_928 + 73_856 + 147_584 + 295_168 + (2304 * 256 + 256) + 1799,
    "ucu-baseline": 640 + 73_856 + 295_168 + 590_080 + (2304 * 512 + 512) + 131_328 + 1799,
}  # fmt: skip
PRINTED = {  # convolutions and dense layers, the last one included
    "stanford-shallow": (2, 2),
    "stanford-deep": (3, 3),
    "stanford-shallow-hog": (2, 2),
    "stanford-deep-hog": (3, 3),
    "auc-baseline": (4, 2),
    "trial1": (3, 2),
    "trial2": (7, 2),
    "ucu-baseline": (4, 3),
}


def build(recipe: RecipeSpec) -> nn.Module:
    module, _, name = recipe.architecture.partition(":")
    network = getattr(import_module(module), name)(**recipe.model)
    assert isinstance(network, nn.Module)
    return network


@pytest.mark.parametrize("name", PARAMETERS)
def test_layers_and_parameters(name: str, recipes: dict[str, RecipeSpec]) -> None:
    network = build(recipes[name])
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    dense = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert (len(convolutions), len(dense)) == PRINTED[name]
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_shapes_and_modes(name: str, recipes: dict[str, RecipeSpec]) -> None:
    torch.manual_seed(0)
    network = build(recipes[name])
    faces = torch.rand(3, 1, 48, 48)
    network.train()
    assert network(faces).shape == (3, 7)
    assert not torch.equal(network(faces), network(faces)), "dropout"
    network.eval()
    with torch.inference_mode():
        logits = network(faces)
        assert torch.equal(logits, network(faces))
        assert torch.allclose(logits[1:2], network(faces[1:2]), atol=1e-5), "a face alone and in a batch"
        assert torch.equal(network.get_submodule("head")(network.features(faces)), logits)  # type: ignore[operator]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_learns(name: str, recipes: dict[str, RecipeSpec]) -> None:
    torch.manual_seed(0)
    network = build(recipes[name])
    network(torch.rand(4, 1, 48, 48)).square().sum().backward()
    still = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A batch norm behind it takes out what a bias adds: its gradient is rounding, or nothing.
    assert all(key.endswith("bias") for key in still), still


def test_first_filters_of_the_deep_network(recipes: dict[str, RecipeSpec]) -> None:
    """The poster shows "the first 30 7x7 filters" and prints 256 and 512 hidden neurons."""
    network = build(recipes["stanford-deep"])
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert first.kernel_size == (7, 7)
    assert first.out_channels > 30
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [256, 512, 7]


def test_baseline_is_four_same_convolutions_and_two_pools(recipes: dict[str, RecipeSpec]) -> None:
    network = build(recipes["auc-baseline"])
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert {(m.kernel_size, m.out_channels, m.padding) for m in convolutions} == {((3, 3), 32, (1, 1))}
    assert len([m for m in network.modules() if isinstance(m, nn.MaxPool2d)]) == 2
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {0.5}


def test_dropout_as_told(recipes: dict[str, RecipeSpec]) -> None:
    """Trial 1 "only included in last layer"; trial 2 "in middle layers"; the UCU baseline "at each layer"."""
    counts = {
        name: len([m for m in build(recipes[name]).modules() if isinstance(m, nn.Dropout)])
        for name in ("trial1", "trial2", "ucu-baseline")
    }
    assert counts == {"trial1": 1, "trial2": 5, "ucu-baseline": 6}
    assert not [m for m in build(recipes["ucu-baseline"]).modules() if isinstance(m, nn.BatchNorm2d)]


def test_hog_reaches_the_dense_part_only(recipes: dict[str, RecipeSpec]) -> None:
    torch.manual_seed(0)
    network = build(recipes["stanford-shallow-hog"]).eval()
    faces = torch.rand(2, 1, 48, 48)
    before = network(faces)
    with torch.no_grad():
        first = next(m for m in network.get_submodule("dense").modules() if isinstance(m, nn.Linear))
        first.weight[:, -900:] = 0
    assert not torch.allclose(network(faces), before), "the last 900 inputs are the descriptor"


@pytest.mark.parametrize("network", [Trial1, Trial2])
def test_the_activation_of_the_trials_can_be_searched(network: type[Trial1] | type[Trial2]) -> None:
    assert sum(isinstance(m, nn.ReLU) for m in network().modules()) > 3
    for name, kind in (("leaky_relu", nn.LeakyReLU), ("elu", nn.ELU), ("tanh", nn.Tanh)):
        layers = list(network(activation=name).modules())
        assert sum(isinstance(m, kind) for m in layers) == sum(isinstance(m, nn.ReLU) for m in network().modules())
        assert not any(isinstance(m, nn.ReLU) for m in layers)
    with pytest.raises(ValueError, match="activation is one of relu, leaky_relu, elu, tanh; got 'swish'"):
        network(activation="swish")
