"""Every registered backend, ours or a plugin's, passes the contract; broken ones are told why."""

from typing import Any, ClassVar

import pytest
import torch
from affect_cnn import plugin as cnn
from affect_ensemble import plugin as ensemble

from affect.errors import AffectError
from affect.inference.checkpoint import InputSpec, load_sidecar
from affect.inference.device import Device
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.testing import ContractError, FakeBackend, check_backend, check_registered

# Backends that answer nothing until they are configured, and a configuration.
CONFIGURED: dict[str, dict[str, Any]] = {
    "ensemble": {} if ensemble.SHIPPED.is_file() else {"members": ["cnn", "template-mirror"]},
}


@pytest.mark.parametrize("name", PluginHost().backends.names())
def test_registered_backend_passes_the_contract(name: str) -> None:
    check_registered(name, settings=PluginSettings.model_validate({name: CONFIGURED.get(name, {})}))


def test_a_weights_file_passes_the_contract() -> None:
    check_registered(str(cnn.WEIGHTS))


@pytest.mark.parametrize(
    "table", [{"vote": "majority"}, {"weights": [3, 1]}, {"mirror": False}, {"max_members": 1}, {"stacked": "always"}]
)
def test_every_kind_of_ensemble_passes_the_contract(table: dict[str, Any]) -> None:
    settings = PluginSettings.model_validate({"ensemble": {"members": ["cnn", str(cnn.WEIGHTS)], **table}})
    check_registered("ensemble", settings=settings)


def test_the_template_plugin_is_installed_and_registered(plugin_host: PluginHost) -> None:
    provenance = plugin_host.backends.provenance("template-mirror")
    assert provenance.distribution == "affect-template"


def test_template_is_symmetric_under_mirroring(plugin_host: PluginHost) -> None:
    backend = plugin_host.create_backend("template-mirror", Device("cpu", "float32"))
    faces = torch.randn(4, 1, 48, 48, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(backend.predict(faces), backend.predict(faces.flip(3)), atol=1e-4)


def test_fake_backend_passes() -> None:
    check_backend(FakeBackend())


class _Broken(FakeBackend):
    def __init__(self, clause: str) -> None:
        super().__init__()
        self.clause, self.calls = clause, 0

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits = super().predict(faces)
        if self.clause == "shape":
            return logits[:, :6]
        if self.clause == "finite":
            return logits * float("inf")
        if self.clause == "stateless":
            return logits + torch.arange(7) * self.calls
        if self.clause == "company":
            return logits + torch.arange(7) * len(faces) / 4
        if self.clause == "blind":
            return torch.zeros_like(logits)
        return logits.to(torch.int64)


@pytest.mark.parametrize(
    ("clause", "says"),
    [
        ("shape", "logits must be"),
        ("finite", "finite"),
        ("stateless", "different answers|changes"),
        ("company", "between batches"),
        ("blind", "same answer"),
        ("integer", "floating point"),
    ],
)
def test_contract_refuses_a_broken_backend(clause: str, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        check_backend(_Broken(clause))


class _Embedding(FakeBackend):
    """Embeds as the clause says; `none` has nothing to show, which is allowed."""

    def __init__(self, clause: str) -> None:
        super().__init__()
        self.clause = clause

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        logits = self.predict(faces)
        embeddings = faces.mean(dim=2).flatten(1)
        if self.clause == "logits":
            return logits.flip(1), embeddings
        if self.clause == "logits' shape":
            return logits[:, :6], embeddings
        if self.clause == "none" or (self.clause == "sometimes" and len(faces) == 5):
            return logits, None
        changed = {
            "flat": embeddings[0],
            "rows": embeddings[:1].repeat(len(faces) + 1, 1),
            "length": embeddings[:, : 10 + len(faces)],
            "finite": embeddings / 0,
            "integer": embeddings.long(),
        }
        return logits, changed.get(self.clause, embeddings)


@pytest.mark.parametrize("clause", ["good", "none"])
def test_a_backend_that_embeds_passes(clause: str) -> None:
    check_backend(_Embedding(clause))


@pytest.mark.parametrize(
    ("clause", "says"),
    [
        ("logits", "other logits than predict"),
        ("logits' shape", "logits must be"),
        ("flat", r"embeddings must be \[1, D\], got \[48\]"),
        ("rows", r"embeddings must be \[1, D\], got \[2, 48\]"),
        ("length", "one length always, got 11, 12, 15, 26"),
        ("sometimes", "one length always, got 48, None"),
        ("finite", "embeddings must be finite"),
        ("integer", "embeddings must be floating point"),
    ],
)
def test_contract_refuses_broken_embeddings(clause: str, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        check_backend(_Embedding(clause))


class _Offering(FakeBackend):
    power = 1.25
    mirror = True
    sidecar = load_sidecar(cnn.WEIGHTS)
    fingerprint = "ab"
    manifest: ClassVar = {"members": [], "vote": "soft", "mirror": True}
    model = "model.onnx"


class _ReadOnly(FakeBackend):
    @property
    def mirror(self) -> bool:
        return True


def test_a_backend_that_offers_more_passes() -> None:
    check_backend(_Offering())


def test_what_a_backend_offers_may_be_none() -> None:
    backend: Any = _Offering()
    backend.sidecar = backend.fingerprint = backend.manifest = None
    check_backend(backend)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("power", 0.0, "power must be a positive number, got 0.0"),
        ("power", float("inf"), "power must be a positive number, got inf"),
        ("power", float("nan"), "power must be a positive number, got nan"),
        ("power", None, "power must be a positive number, got None"),
        ("mirror", "yes", "mirror must be True or False, got 'yes'"),
        ("sidecar", {"weights_sha256": "ab"}, "sidecar must be a Sidecar or None, got dict"),
        ("fingerprint", b"ab", "fingerprint must be a string or None, got b'ab'"),
        ("manifest", "members.json", "manifest must be a mapping with members, vote and mirror"),
        ("manifest", {"members": []}, "manifest must be a mapping with members, vote and mirror"),
    ],
)
def test_contract_refuses_a_broken_offer(name: str, value: object, says: str) -> None:
    backend = _Offering()
    setattr(backend, name, value)
    with pytest.raises(ContractError, match=says):
        check_backend(backend)


def test_contract_refuses_a_mirror_that_cannot_be_set() -> None:
    with pytest.raises(ContractError, match="read-only"):
        check_backend(_ReadOnly())


def test_contract_refuses_a_temperature_of_zero() -> None:
    backend = FakeBackend()
    backend.temperature = 0.0
    with pytest.raises(ContractError, match="temperature"):
        check_backend(backend)


def test_input_spec_refuses_channels_that_do_not_fit() -> None:
    crop = FakeBackend.input.crop
    with pytest.raises(ValueError, match="need 3 numbers"):
        InputSpec(size=48, channels=3, mean=(0.5,), std=(1.0,), crop=crop)


def test_unknown_backend_is_an_error_of_ours() -> None:
    with pytest.raises(AffectError, match="did you mean 'cnn'"):
        check_registered("cnm")
