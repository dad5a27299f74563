import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from affect_cnn.plugin import WEIGHTS
from affect_training.config import run_config
from affect_training.network import (
    build_model,
    calibrate,
    check_network,
    freeze,
    freeze_body,
    head_parameters,
    initialise,
    train_mode,
)
from safetensors.torch import save_file
from support.tiny import TINY_HEADS, Tiny, TinyHeads
from torch import nn

from affect.errors import CheckpointError, SettingsError
from affect.inference.checkpoint import sidecar_path
from affect.plugins import PluginHost

# Building


def test_an_architecture_is_built_by_its_name() -> None:
    model = build_model("torch.nn:Linear", {"in_features": 2, "out_features": 7})
    assert isinstance(model, nn.Linear)
    assert model.out_features == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"colour": 1}, r"model of support\.tiny:Tiny: .*unexpected keyword argument 'colour'"),
        ({"dropout": 1.5}, r"model of support\.tiny:Tiny: dropout is a probability, got 1\.5"),
        ({"width": -1}, r"model of support\.tiny:Tiny: "),
        ({"dropout": "much"}, r"model of support\.tiny:Tiny: "),
    ],
)
def test_arguments_it_does_not_take_are_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_model("support.tiny:Tiny", arguments)


@pytest.mark.parametrize("name", ["no.such.module:Net", "torch.nn:NoSuchNet", "torch.nn", "json:dumps"])
def test_what_is_no_network_is_named(name: str) -> None:
    with pytest.raises((CheckpointError, SettingsError), match=name):
        build_model(name, {"obj": 1} if name == "json:dumps" else {})


# Initial weights


def ones(model: nn.Module, place: str) -> None:
    nn.init.ones_(model.get_parameter("head.bias"))
    nn.init.constant_(model.get_parameter("head.weight"), len(place))


SPEC = replace(TINY_HEADS, inits={"ones": f"{__name__}:ones"})


def test_none_leaves_the_weights_alone() -> None:
    model = TinyHeads()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    initialise(model, SPEC, "none")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(("init", "place"), [("ones", 0), ("ones:", 0), ("ones:/a:b", 4)])
def test_a_scheme_is_the_recipes_own_function(init: str, place: int) -> None:
    model = TinyHeads()
    initialise(model, SPEC, init)
    assert float(model.head.bias.detach().mean()) == 1
    assert float(model.head.weight.detach().mean()) == place


@pytest.mark.parametrize("init", ["imagenet", "twos:there", "weights.pt", ""])
def test_a_scheme_the_recipe_does_not_know_is_an_error(init: str) -> None:
    with pytest.raises(SettingsError, match=r"recipe 'tiny-heads' knows none, FILE\.safetensors, ones"):
        initialise(TinyHeads(), SPEC, init)


def test_a_weights_file_of_the_same_network(tmp_path: Path) -> None:
    source = TinyHeads()
    source.get_buffer("body.1.running_mean").fill_(3)
    path = tmp_path / "w.safetensors"
    save_file({name: t.half() if t.is_floating_point() else t for name, t in source.state_dict().items()}, path)
    model = TinyHeads()
    initialise(model, SPEC, str(path))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == source.state_dict()[name].dtype
        torch.testing.assert_close(tensor, source.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_head_of_another_shape_keeps_its_fresh_weights(tmp_path: Path) -> None:
    source, model = TinyHeads(heads=2), TinyHeads(heads=1)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    fresh = model.head.weight.detach().clone()
    initialise(model, SPEC, str(tmp_path / "w.safetensors"))
    assert torch.equal(model.head.weight, fresh)
    assert torch.equal(model.get_parameter("body.0.weight"), source.get_parameter("body.0.weight"))


def test_a_weights_file_of_another_network_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(Tiny().state_dict(), path)
    with pytest.raises(CheckpointError, match=r"w\.safetensors: does not fit TinyHeads; no tensor .* and \d more"):
        initialise(TinyHeads(), SPEC, str(path))


@pytest.mark.parametrize("damage", ["missing", "folder", "pickle", "cut", "empty"])
def test_what_is_no_weights_file_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.safetensors"
    if damage == "folder":
        path.mkdir()
    elif damage == "pickle":
        torch.save(TinyHeads().state_dict(), path)
    elif damage != "missing":
        save_file(TinyHeads().state_dict(), path)
        path.write_bytes(path.read_bytes()[: 500 if damage == "cut" else 0])
    with pytest.raises(CheckpointError, match=r"--init .*w\.safetensors: "):
        initialise(TinyHeads(), SPEC, str(path))


def test_weights_that_differ_from_their_sidecar_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cnn.safetensors"
    for file in (WEIGHTS, sidecar_path(WEIGHTS)):
        shutil.copy(file, tmp_path)
    spec = PluginHost().recipes.get("nguyen2017")
    model = build_model(spec.architecture, spec.model)
    initialise(model, spec, str(path))
    path.write_bytes(path.read_bytes()[:-64] + bytes(64))
    with pytest.raises(CheckpointError, match=r"do not match their sidecar cnn\.json"):
        initialise(model, spec, str(path))


def test_a_head_that_answers_and_learns_nothing_is_refused() -> None:
    spec = PluginHost().recipes.get("compact")
    shared = {"model": {"votes_share": 0.5}}
    check_network(spec, run_config(spec, shared))
    with pytest.raises(SettingsError, match=r"model\.votes_share: .* train\.votes_weight=0"):
        check_network(spec, run_config(spec, shared, {"train": {"votes_weight": 0}}))


# Freezing


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer1, self.layer10 = nn.Linear(2, 3), nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)


@pytest.mark.parametrize(
    ("prefixes", "frozen", "count"),
    [
        (["layer1"], {"layer1.weight", "layer1.bias"}, 9),
        (["layer1."], {"layer1.weight", "layer1.bias"}, 9),
        (["layer1.bias", "layer1"], {"layer1.weight", "layer1.bias"}, 9),
        (["layer10.weight", "norm"], {"layer10.weight", "norm.weight", "norm.bias"}, 20),
        ([], set(), 0),
    ],
)
def test_what_lies_below_a_name_is_frozen(prefixes: list[str], frozen: set[str], count: int) -> None:
    model = Layers()
    assert freeze(model, prefixes) == count
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == frozen


@pytest.mark.parametrize("prefix", ["layer", "layer2", "weight", ".", ""])
def test_a_name_that_fits_nothing_is_an_error(prefix: str) -> None:
    with pytest.raises(SettingsError, match=r"train\.freeze: .*there are layer1\.weight, layer1\.bias"):
        freeze(Layers(), [prefix])


def test_freezing_the_body_leaves_the_head() -> None:
    model = TinyHeads()
    freeze_body(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


def test_in_training_mode_frozen_norms_rest_and_others_work() -> None:
    model = Layers()
    model.eval()
    train_mode(model)
    assert all(module.training for module in model.modules())
    freeze(model, ["norm"])
    train_mode(model)
    assert [name for name, module in model.named_modules() if not module.training] == ["norm"]


def test_a_norm_that_is_frozen_in_part_still_works() -> None:
    model = Layers()
    freeze(model, ["norm.bias"])
    train_mode(model)
    assert model.norm.training


def test_the_head_is_what_the_network_calls_so() -> None:
    model = TinyHeads()
    assert head_parameters(model) == {id(model.head.weight), id(model.head.bias)}
    assert head_parameters(Tiny()) == set()


# Measuring


def test_a_network_that_measures_is_given_faces() -> None:
    class Measuring(nn.Module):
        seen: torch.Tensor

        def calibrate(self, faces: torch.Tensor) -> None:
            assert not torch.is_grad_enabled()
            self.seen = faces

    faces, model = torch.zeros(2, 1, 48, 48), Measuring()
    calibrate(model, faces)
    assert model.seen is faces
    calibrate(nn.Linear(1, 1), faces)  # nothing to do


BODY = replace(TINY_HEADS, inits={"backbone": f"{__name__}:ones"})


def test_a_file_of_a_backbone_needs_no_scheme_before_it(tmp_path: Path) -> None:
    foreign = tmp_path / "timm.safetensors"
    save_file({"conv1.weight": torch.zeros(2)}, foreign)
    pickled = tmp_path / "vgg16.pth"
    pickled.touch()
    for path in (foreign, pickled):
        model = TinyHeads()
        initialise(model, BODY, str(path))
        assert model.head.weight.eq(len(str(path))).all()
    own = tmp_path / "own.safetensors"
    save_file(TinyHeads().state_dict(), own)
    model = TinyHeads()
    initialise(model, BODY, str(own))
    assert not model.head.weight.eq(len(str(own))).any()


def test_a_start_that_is_unknown_is_told_how_a_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"knows none, FILE\.safetensors, backbone\[:PLACE\]"):
        initialise(TinyHeads(), BODY, "nowhere.pth")
