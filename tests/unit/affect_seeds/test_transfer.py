"""Pretrained networks: sizes as Keras prints them, what is frozen, shapes at a size a test can wait for."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from affect_seeds.transfer import Transfer
from affect_training.network import freeze, train_mode
from torch import nn

from affect.registry import RecipeSpec

BACKBONES = {"auc-vgg16": 14_714_688, "vgg19": 20_024_384, "auc-resnet50": 23_508_032, "auc-senet50": 26_039_024}
HEADS = {
    "auc-vgg16": 6 * 6 * 512 * 4096 + 4096 + 4_195_328 + 7175,
    "vgg19": 3591,
    "auc-resnet50": 8_392_704 + 4_195_328 + 7175,
    "auc-senet50": 8_392_704 + 4_195_328 + 7175,
}
WIDTHS = {"auc-vgg16": 2 * 2 * 512, "vgg19": 512, "auc-resnet50": 2048, "auc-senet50": 2048}  # at 64 pixels, VGG19 48


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small(recipe: RecipeSpec, **changes: Any) -> Transfer:
    """A recipe's network at 64 pixels with a narrow dense part."""
    arguments: Mapping[str, Any] = {**recipe.model, "side": min(64, recipe.model["side"]), "hidden": [16], **changes}
    return Transfer(**arguments)


@pytest.mark.parametrize("name", BACKBONES)
def test_parameters(name: str, recipes: dict[str, RecipeSpec]) -> None:
    """Keras' counts of the backbones without top, less ResNet50's running statistics; the head by hand."""
    with torch.device("meta"):
        network = Transfer(**recipes[name].model)
    assert size(network.backbone) == BACKBONES[name]
    assert size(network.head) == HEADS[name]


@pytest.mark.parametrize(
    ("name", "frozen"),
    [
        ("auc-vgg16", 14_714_688),  # all
        ("vgg19", 38_720 + 221_440),  # blocks 1 and 2
        ("auc-resnet50", 23_508_032 - 2 * 2048),  # all but the last batch norm
        # Stem, stages 1 and 2, two blocks of stage 3 (each with its SE part), two convolutions and norms of the third.
        (
            "auc-senet50",
            9536
            + (215_808 + 3 * 8464)
            + (1_219_584 + 4 * 33_312)
            + (1_512_448 + 1_117_184 + 2 * 132_160)
            + (262_144 + 589_824 + 1024),
        ),
    ],
)
def test_frozen_and_trainable(name: str, frozen: int, recipes: dict[str, RecipeSpec]) -> None:
    with torch.device("meta"):
        network = Transfer(**recipes[name].model)
    prefixes = tuple(recipes[name].train["freeze"])
    named = dict(network.named_parameters())
    held = {key for key in named if key.startswith(prefixes)}
    assert sum(named[key].numel() for key in held) == frozen
    assert sum(p.numel() for key, p in named.items() if key not in held) == size(network) - frozen
    assert all(any(key.startswith(prefix) for key in named) for prefix in prefixes)


@pytest.mark.parametrize("name", BACKBONES)
def test_a_step_moves_what_is_not_frozen_and_nothing_else(name: str, recipes: dict[str, RecipeSpec]) -> None:
    torch.manual_seed(0)
    network = small(recipes[name])
    held = tuple(recipes[name].train["freeze"])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    count = freeze(network, held)
    assert 0 < count < size(network)
    train_mode(network)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 1, 48, 48)).square().sum().backward()
    optimizer.step()
    frozen = {key for key, p in network.named_parameters() if not p.requires_grad}
    moved = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert sum(p.numel() for key, p in network.named_parameters() if key in frozen) == count
    assert not moved & frozen
    assert {key for key, p in network.named_parameters() if p.requires_grad} <= moved | {"head.0.bias"}
    still = {f"{key.removesuffix('weight')}running_mean" for key in frozen} & before.keys()
    assert not moved & still  # nor do the statistics of frozen norms


@pytest.mark.parametrize("name", BACKBONES)
def test_shapes_and_modes(name: str, recipes: dict[str, RecipeSpec]) -> None:
    torch.manual_seed(0)
    network = small(recipes[name])
    faces = torch.rand(2, 1, 48, 48)
    assert network.train()(faces).shape == (2, 7)
    network.eval()
    with torch.inference_mode():
        assert network.features(faces).shape == (2, WIDTHS[name])
        assert torch.equal(network.head(network.features(faces)), network(faces))


def test_faces_are_scaled_coloured_and_normalised(recipes: dict[str, RecipeSpec]) -> None:
    network = small(recipes["vgg19"], side=64)
    seen: list[torch.Tensor] = []
    network.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.eval()(torch.full((1, 1, 48, 48), 0.485))
    assert seen[0].shape == (1, 3, 64, 64)
    assert torch.allclose(seen[0][:, 0], torch.zeros(64, 64), atol=1e-6)
    assert torch.allclose(seen[0][:, 2], torch.full((64, 64), (0.485 - 0.406) / 0.225), atol=1e-5)


def test_sizes_that_cannot_be(recipes: dict[str, RecipeSpec]) -> None:
    with pytest.raises(ValueError, match="at least 32 pixels, got 24"):
        small(recipes["vgg19"], side=24)
    with pytest.raises(ValueError, match="flatten is for VGG; resnet50"):
        small(recipes["auc-resnet50"], flatten=True)
    with pytest.raises(ValueError, match="backbone is one of vgg16"):
        small(recipes["auc-resnet50"], backbone="resnet5")
