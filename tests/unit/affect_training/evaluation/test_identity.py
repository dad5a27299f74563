from pathlib import Path
from types import SimpleNamespace

import pytest
from affect_cnn.plugin import WEIGHTS
from affect_training.evaluation.identity import identity_of

from affect.errors import PluginError
from affect.inference.checkpoint import load_sidecar
from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.testing import FakeBackend


def test_a_backend_is_told_by_its_weights() -> None:
    backend = PluginHost().create_backend(str(WEIGHTS), Device("cpu"))
    assert identity_of(backend) == {"weights_sha256": load_sidecar(WEIGHTS).weights_sha256, "fingerprint": None}


def test_without_a_weights_file_by_its_fingerprint_if_it_has_one() -> None:
    assert identity_of(FakeBackend()) == {"weights_sha256": None, "fingerprint": None}
    backend = FakeBackend()
    backend.fingerprint = "ab"  # type: ignore[attr-defined]
    assert identity_of(backend)["fingerprint"] == "ab"
    backend.sidecar = SimpleNamespace(weights_sha256="cd")  # type: ignore[attr-defined]
    assert identity_of(backend) == {"weights_sha256": "cd", "fingerprint": None}


def test_a_name_stands_for_the_weights_that_are_configured() -> None:
    assert PluginHost().weights_of("cnn") == WEIGHTS
    configured = PluginHost(PluginSettings.model_validate({"cnn": {"weights": "other.safetensors"}}))
    assert configured.weights_of("cnn") == Path("other.safetensors")
    assert configured.weights_of("mine.safetensors") == Path("mine.safetensors")
    assert configured.weights_of("ensemble") is None
    with pytest.raises(PluginError, match="did you mean 'cnn'"):
        configured.weights_of("cnm")
