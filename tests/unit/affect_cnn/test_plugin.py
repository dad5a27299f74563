from pathlib import Path

import pytest
import torch
from affect_cnn import plugin
from affect_cnn.model import Nguyen2017

from affect.errors import CheckpointError, SettingsError
from affect.inference.checkpoint import InputSpec, save_checkpoint
from affect.inference.device import Device
from affect.inference.torch_backend import TorchBackend
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.vision.geometry import FER2013_CROP


def host(**cnn: object) -> PluginHost:
    made = PluginHost(PluginSettings.model_validate({"cnn": cnn}), entry_points=[], strict=True)
    made.register(plugin, "cnn", "tutor-affect", "1")
    return made


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    torch.manual_seed(1)
    save_checkpoint(
        path,
        Nguyen2017().state_dict(),
        architecture="affect_cnn.model:Nguyen2017",
        parameters=5_008_551,
        input=InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP),
        temperature=1.0,
    )
    return path


def test_it_provides_backends_and_recipes(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    recipes = ["nguyen2017", "nguyen2017-plain", "nguyen2017-x5", "compact"]
    monkeypatch.setattr(plugin, "COMPACT_WEIGHTS", weights.with_name("nothing.safetensors"))
    assert host().plugins[0].provides == {"backends": ["cnn"], "recipes": recipes}
    monkeypatch.setattr(plugin, "COMPACT_WEIGHTS", weights)
    assert host().plugins[0].provides == {"backends": ["cnn", "compact"], "recipes": recipes}
    assert host().backends.get("cnn").weights == plugin.WEIGHTS


def test_a_backend_of_other_weights_is_created_and_answers(weights: Path, cpu: Device) -> None:
    backend = host(weights=str(weights)).create_backend("cnn", cpu)
    assert isinstance(backend, TorchBackend)
    assert isinstance(backend.model, Nguyen2017)
    faces = torch.randn(2, 1, 48, 48)
    logits = backend.predict(faces)
    assert logits.shape == (2, 7)
    torch.manual_seed(1)
    fresh = Nguyen2017().half().float().eval()
    with torch.inference_mode():
        torch.testing.assert_close(logits, fresh(faces), atol=1e-4, rtol=1e-4)


def test_missing_weights_are_named(tmp_path: Path, cpu: Device) -> None:
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors"):
        host(weights=str(tmp_path / "nothing.safetensors")).create_backend("cnn", cpu)


def test_an_unknown_setting_is_refused(cpu: Device) -> None:
    with pytest.raises(SettingsError, match=r"plugins\.cnn\.weight: "):
        host(weight="x").create_backend("cnn", cpu)


def test_it_is_built_as_its_sidecar_says(tmp_path: Path, cpu: Device) -> None:
    torch.manual_seed(1)
    network = Nguyen2017(activation="relu")
    path = tmp_path / "relu.safetensors"
    save_checkpoint(
        path,
        network.state_dict(),
        dtype=torch.float32,
        architecture="affect_cnn.model:Nguyen2017",
        arguments={"activation": "relu"},
        parameters=5_008_551,
        input=InputSpec(size=48, channels=1, mean=(0.5,), std=(0.25,), crop=FER2013_CROP),
        temperature=1.0,
    )
    faces = torch.randn(2, 1, 48, 48)
    with torch.inference_mode():
        expected = network.eval()(faces)
        torch.testing.assert_close(host(weights=str(path)).create_backend("cnn", cpu).predict(faces), expected)
