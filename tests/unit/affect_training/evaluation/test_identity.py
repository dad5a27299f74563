from pathlib import Path
from types import SimpleNamespace

import pytest
from affect_cnn.plugin import WEIGHTS
from affect_training.evaluation.identity import identity_of, weights_in_force

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
    assert weights_in_force("cnn", PluginHost()) == WEIGHTS
    configured = PluginHost(PluginSettings.model_validate({"cnn": {"weights": "other.safetensors"}}))
    assert weights_in_force("cnn", configured) == Path("other.safetensors")
    assert weights_in_force("mine.safetensors", configured) == Path("mine.safetensors")
    assert weights_in_force("ensemble", configured) is None
    with pytest.raises(PluginError, match="did you mean 'cnn'"):
        weights_in_force("cnm", configured)
