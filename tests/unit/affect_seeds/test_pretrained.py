"""Weights for a backbone: from timm, from a file, and every way in which that can fail. Nothing is downloaded."""

import pickle
from pathlib import Path

import pytest
import timm
import torch
from affect_seeds import pretrained
from affect_seeds.transfer import Transfer
from safetensors.torch import save_file
from torch import nn

from affect.errors import CheckpointError, SettingsError

MAKE = timm.create_model


@pytest.fixture
def network() -> Transfer:
    return Transfer(backbone="resnet50", side=32, hidden=[8])


def donor() -> dict[str, torch.Tensor]:
    """A state dict as torchvision's resnet50 has it, classifier and all."""
    torch.manual_seed(7)
    found: dict[str, torch.Tensor] = MAKE("resnet50", pretrained=False).state_dict()
    assert "fc.weight" in found
    return found


def test_imagenet_takes_timm_s_weights(network: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        asked.append((name, pretrained))
        torch.manual_seed(7)
        return MAKE(name.partition(".")[0], pretrained=False)

    monkeypatch.setattr(timm, "create_model", create_model)
    head = network.head.state_dict()["1.weight"].clone()
    pretrained.imagenet(network)
    pretrained.imagenet(network, "a1_in1k")
    assert asked == [("resnet50.tv_in1k", True), ("resnet50.a1_in1k", True)]
    assert torch.equal(network.backbone.state_dict()["layer4.2.conv3.weight"], donor()["layer4.2.conv3.weight"])
    assert torch.equal(network.head.state_dict()["1.weight"], head)


def test_no_network_says_what_to_do(network: Transfer, monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        raise OSError("Connection refused\nmany more lines")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(SettingsError) as caught:
        pretrained.imagenet(network)
    message = str(caught.value)
    assert "resnet50.tv_in1k (OSError: Connection refused)" in message
    assert "--init backbone:FILE" in message
    assert "--init none" in message


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_file_in_torchvision_s_names(network: Transfer, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"resnet50{suffix}"
    tensors = {k: v for k, v in donor().items() if not k.endswith("num_batches_tracked")}  # as in older files
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    pretrained.backbone(network, str(path))
    assert torch.equal(network.backbone.state_dict()["conv1.weight"], tensors["conv1.weight"])


def test_our_own_weights_fit_too(network: Transfer, tmp_path: Path) -> None:
    other = Transfer(backbone="resnet50", side=32, hidden=[])
    save_file(other.state_dict(), tmp_path / "ours.safetensors")
    pretrained.backbone(network, str(tmp_path / "ours.safetensors"))
    assert torch.equal(network.backbone.state_dict()["conv1.weight"], other.backbone.state_dict()["conv1.weight"])


def test_files_that_do_not_fit(network: Transfer, tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(8, 3, 7, 7)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"no resnet50; conv1.weight should be \[64, 3, 7, 7\], it is \[8, 3, 7"):
        pretrained.backbone(network, str(tmp_path / "other.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match=r"conv1.weight should be \[64, 3, 7, 7\], there is none"):
        pretrained.backbone(network, str(tmp_path / "none.safetensors"))
    with pytest.raises(CheckpointError, match="no such weights file"):
        pretrained.backbone(network, str(tmp_path / "missing.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match="neither safetensors nor a plain state dict"):
        pretrained.backbone(network, str(tmp_path / "bad.safetensors"))
    with pytest.raises(SettingsError, match="wants a file"):
        pretrained.backbone(network)
    with pytest.raises(SettingsError, match="networks with a backbone, not for Linear"):
        pretrained.backbone(nn.Linear(1, 1), str(tmp_path / "other.safetensors"))


class Harm:
    """What a pickle may hide."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, ("harm",)


def test_code_in_a_pickle_is_not_run(network: Transfer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Harm()))
    torch.save({"conv1.weight": [1, 2, 3]}, tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="neither safetensors nor a plain state dict"):
        pretrained.backbone(network, str(tmp_path / "bad.pth"))
    with pytest.raises(CheckpointError, match="expected a state dict of tensors"):
        pretrained.backbone(network, str(tmp_path / "list.pth"))
    assert not (tmp_path / "harm").exists()
