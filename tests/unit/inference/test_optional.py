import pytest
from affect_cnn.plugin import WEIGHTS
from affect_ensemble.backend import EnsembleBackend
from affect_ensemble.manifest import Plan, Voter
from torch import nn

from affect.inference.checkpoint import load_sidecar
from affect.inference.device import Device
from affect.inference.from_weights import backend_from_weights
from affect.inference.optional import (
    EmbeddingBackend,
    FingerprintBackend,
    Identity,
    MirroringBackend,
    NetworkBackend,
    PoweredBackend,
    VotingBackend,
    WeightsBackend,
    calibration_of,
    identity_of,
    manifest_of,
    mirrors,
    network_of,
    sidecar_of,
)
from affect.inference.torch_backend import TorchBackend
from affect.testing import FakeBackend
from affect.types import Calibration


@pytest.fixture
def network(cpu: Device) -> TorchBackend:
    return backend_from_weights(WEIGHTS, cpu, {load_sidecar(WEIGHTS).architecture})


@pytest.fixture
def ensemble(network: TorchBackend, cpu: Device) -> EnsembleBackend:
    return EnsembleBackend(Plan((Voter("a", 1, 1.5),), "soft", mirror=True), [network], cpu)


def test_a_backend_need_not_offer_anything() -> None:
    backend = FakeBackend()
    assert calibration_of(backend) == Calibration(1.0, 1.0)
    assert identity_of(backend) == Identity(weights_sha256=None, fingerprint=None)
    assert identity_of(backend).either is None
    assert not mirrors(backend)
    assert (sidecar_of(backend), manifest_of(backend), network_of(backend)) == (None, None, None)


def test_a_torch_backend_offers_network_sidecar_power_and_embedding(network: TorchBackend) -> None:
    # The annotations let mypy compare the types; at run time only names are compared.
    embedding: EmbeddingBackend = network
    powered: PoweredBackend = network
    weights: WeightsBackend = network
    model: NetworkBackend = network
    assert isinstance(embedding, EmbeddingBackend)
    assert calibration_of(network) == Calibration(network.temperature, powered.power)
    assert sidecar_of(network) is weights.sidecar
    assert network_of(network) is model.model
    sha256 = load_sidecar(WEIGHTS).weights_sha256
    assert identity_of(network) == Identity(weights_sha256=sha256, fingerprint=None)
    assert identity_of(network).either == sha256
    assert not mirrors(network)
    assert manifest_of(network) is None


def test_an_ensemble_offers_mirror_fingerprint_and_manifest(ensemble: EnsembleBackend) -> None:
    mirroring: MirroringBackend = ensemble
    told: FingerprintBackend = ensemble
    voting: VotingBackend = ensemble
    assert mirrors(ensemble)
    mirroring.mirror = False
    assert not mirrors(ensemble)
    assert told.fingerprint is not None
    assert identity_of(ensemble) == Identity(weights_sha256=None, fingerprint=told.fingerprint)
    assert identity_of(ensemble).either == told.fingerprint
    assert manifest_of(ensemble) == voting.manifest
    assert calibration_of(ensemble) == Calibration(1.5, 1.0)
    assert (sidecar_of(ensemble), network_of(ensemble)) == (None, None)


class _Both(FakeBackend):
    sidecar = load_sidecar(WEIGHTS)
    fingerprint = "ab"


class _Wrapper(FakeBackend):
    """Has the attributes, and nothing to say."""

    sidecar = None
    fingerprint = "ab"
    manifest = None


class _OtherModel(FakeBackend):
    model = "model.onnx"


def test_a_weights_file_tells_more_than_a_fingerprint() -> None:
    assert identity_of(_Both()) == Identity(weights_sha256=_Both.sidecar.weights_sha256, fingerprint=None)


def test_none_is_as_good_as_not_having_it() -> None:
    assert identity_of(_Wrapper()) == Identity(weights_sha256=None, fingerprint="ab")
    assert manifest_of(_Wrapper()) is None


def test_a_model_that_is_no_torch_module_is_passed_over() -> None:
    backend = _OtherModel()
    assert network_of(backend) is None
    backend.model = nn.Identity()  # type: ignore[assignment]
    assert network_of(backend) is not None


def test_what_is_something_else_under_these_names_is_passed_over() -> None:
    class Other(FakeBackend):
        manifest = "votes.json"
        sidecar = "0"

    backend = Other()
    assert manifest_of(backend) is None
    assert sidecar_of(backend) is None
    assert identity_of(backend) == Identity(None, None)
