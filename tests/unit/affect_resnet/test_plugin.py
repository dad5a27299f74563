import subprocess
import sys
from pathlib import Path

import pytest
import torch
from affect_resnet import plugin
from affect_resnet.dlib_resnet import DlibResNet

from affect.errors import CheckpointError, PluginError, SettingsError
from affect.inference.checkpoint import InputSpec, save_checkpoint
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.vision.geometry import FER2013_CROP

ARGUMENTS = {"side": 104, "heads": 2}
NAMES = ["resnet-face", "mobilenet-face", "resnet18", "resnet50"]


def host(**resnet: object) -> PluginHost:
    made = PluginHost(PluginSettings.model_validate({"resnet": resnet}), entry_points=[], strict=True)
    made.register(plugin, "resnet", "tutor-affect", "1")
    return made


def checkpoint(path: Path, architecture: str = "affect_resnet.dlib_resnet:DlibResNet") -> Path:
    torch.manual_seed(1)
    model = DlibResNet(side=104, heads=2)
    save_checkpoint(
        path,
        model.state_dict(),
        architecture=architecture,
        arguments=ARGUMENTS,
        parameters=sum(p.numel() for p in model.parameters()),
        input=InputSpec(size=48, channels=1, mean=(0.0,), std=(1.0,), crop=FER2013_CROP),
        temperature=1.0,
    )
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = checkpoint(tmp_path / "installed.safetensors")
    monkeypatch.setattr(plugin, "WEIGHTS", path)
    monkeypatch.setattr(plugin, "MOBILENET_WEIGHTS", tmp_path / "nothing.safetensors")
    return path


def test_the_backend_is_there_when_its_weights_are(installed: Path) -> None:
    made = host()
    assert made.plugins[0].provides == {"backends": ["resnet"], "recipes": NAMES}
    assert made.backends.get("resnet").weights == installed


def test_without_weights_only_the_recipes_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "WEIGHTS", tmp_path / "nothing.safetensors")
    monkeypatch.setattr(plugin, "MOBILENET_WEIGHTS", tmp_path / "nothing.safetensors")
    made = host()
    assert made.plugins[0].provides == {"recipes": NAMES}
    with pytest.raises(PluginError, match="no backend 'resnet'"):
        made.backends.get("resnet")


def test_the_sidecar_says_which_network_it_is(installed: Path, cpu: Device) -> None:
    backend = host(weights=str(installed)).create_backend("resnet", cpu)
    assert isinstance(backend, TorchBackend)
    assert isinstance(backend.model, DlibResNet)
    assert backend.model.side == 104
    logits = backend.predict(torch.rand(2, 1, 48, 48))
    assert logits.shape == (2, 7)
    assert bool(torch.isfinite(logits).all())


@pytest.mark.usefixtures("installed")
def test_other_networks_are_not_built(tmp_path: Path, cpu: Device) -> None:
    other = checkpoint(tmp_path / "other.safetensors", architecture="affect_cnn.model:Nguyen2017")
    with pytest.raises(CheckpointError, match=r"affect_cnn\.model:Nguyen2017"):
        host(weights=str(other)).create_backend("resnet", cpu)


@pytest.mark.usefixtures("installed")
def test_missing_weights_and_unknown_settings_are_named(tmp_path: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors"):
        host(weights=str(tmp_path / "gone.safetensors")).create_backend("resnet", cpu)
    with pytest.raises(SettingsError, match=r"plugins\.resnet\.weight: "):
        host(weight="x").create_backend("resnet", cpu)


def test_loading_the_plugin_loads_no_torch() -> None:
    code = "import sys, affect_resnet.plugin; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
