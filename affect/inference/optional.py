"""What a backend may offer besides the protocol `Backend`, one small protocol each, and what holds where it does not.

A backend has the attribute or has it not; nothing is registered. An attribute that only `__getattr__` knows does not
count on every Python: say it in the class. `affect.testing.check_backend` checks what is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from affect.inference.backend import Backend
from affect.inference.checkpoint import Sidecar
from affect.types import Calibration


@runtime_checkable
class EmbeddingBackend(Protocol):
    """Shows the embedding its last layer is given, which the heads of a learner fit read. `TorchBackend` does."""

    def predict_and_embed(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Classify as `predict` does, in the same pass, and embed.

        Returns:
            Logits [N, 7], and embeddings [N, D] of the same D always, or None where the network has none to show.
        """
        ...


@runtime_checkable
class PoweredBackend(Protocol):
    """Has a calibration of two numbers. `TorchBackend` does."""

    @property
    def power(self) -> float:
        """Exponent of the calibration, which `predict` has applied already; 1 is temperature scaling alone."""
        ...


@runtime_checkable
class MirroringBackend(Protocol):
    """Can look at each face and its mirror image by itself. `ensemble` does.

    Attributes:
        mirror: Whether it does. An evaluation that makes its own views sets it to False meanwhile, so it is no
            read-only property.
    """

    mirror: bool


@runtime_checkable
class WeightsBackend(Protocol):
    """Runs a single weights file. `TorchBackend` does."""

    @property
    def sidecar(self) -> Sidecar | None:
        """What lies beside the file; its `weights_sha256` tells the backend from others."""
        ...


@runtime_checkable
class FingerprintBackend(Protocol):
    """Has no single weights file and can be told from others all the same. `ensemble` does."""

    @property
    def fingerprint(self) -> str | None:
        """Changes whenever an answer may; None when there is no telling."""
        ...


@runtime_checkable
class VotingBackend(Protocol):
    """Lets other backends vote. `ensemble` does."""

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """Who votes and how, as `affect-train ensemble` writes it: at least `members`, `vote` and `mirror`."""
        ...


@runtime_checkable
class NetworkBackend(Protocol):
    """Is one torch network. `TorchBackend` is."""

    @property
    def model(self) -> nn.Module:
        """The network in float32, differentiable: from faces as `predict` wants them to outputs [N, 7].

        These are the logits, but for `power`. A `model` that is no torch module is passed over.
        """
        ...


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a backend from others, for files of its figures and answers. At most one of both is known.

    Attributes:
        weights_sha256: Of its weights file; None when there is no single one.
        fingerprint: Its own, where it has no weights file; None when it has none either.
    """

    weights_sha256: str | None
    fingerprint: str | None

    @property
    def either(self) -> str | None:
        """The one that is known."""
        return self.weights_sha256 or self.fingerprint


def calibration_of(backend: Backend) -> Calibration:
    """Return how a backend's probabilities are calibrated; without a `power` by the temperature alone."""
    power = backend.power if isinstance(backend, PoweredBackend) else 1.0
    return Calibration(backend.temperature, float(power))


def mirrors(backend: Backend) -> bool:
    """Whether a backend looks at each face's mirror image by itself, as it is set now."""
    return isinstance(backend, MirroringBackend) and bool(backend.mirror)


def sidecar_of(backend: Backend) -> Sidecar | None:
    """Return what lies beside a backend's weights; None when it has no single weights file."""
    sidecar = backend.sidecar if isinstance(backend, WeightsBackend) else None
    return sidecar if isinstance(sidecar, Sidecar) else None


def identity_of(backend: Backend) -> Identity:
    """Return what tells a backend from others."""
    sidecar = sidecar_of(backend)
    if sidecar is not None:
        return Identity(sidecar.weights_sha256, None)
    return Identity(None, backend.fingerprint if isinstance(backend, FingerprintBackend) else None)


def manifest_of(backend: Backend) -> Mapping[str, Any] | None:
    """Return who votes in a backend that is an ensemble; None for any other."""
    manifest = backend.manifest if isinstance(backend, VotingBackend) else None
    return manifest if isinstance(manifest, Mapping) else None


def network_of(backend: Backend) -> nn.Module | None:
    """Return the torch network of a backend that is one; None for any other."""
    model = backend.model if isinstance(backend, NetworkBackend) else None
    return model if isinstance(model, nn.Module) else None
