"""What backends answer to many faces, asked once and kept: for distillation and for finding ensembles.

The cache knows an answer by the weights, their calibration and input, the faces, the views and the precision.
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affect.errors import SettingsError
from affect.inference.backend import Backend
from affect.inference.device import Device
from affect.inference.optional import calibration_of, identity_of, mirrors, sidecar_of
from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier
from affect.plugins import PluginHost
from affect.settings.load import load_settings
from affect.types import ByteArray, Calibration, FloatArray
from affect_training.run_record import RUN_JSON

log = logging.getLogger(__name__)

CACHE = Path("runs/cache")
_PART = 4096
"""Faces handed to a backend's door at once: bounds memory, and is how often progress is logged."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one backend says.

    Attributes:
        name: As it was asked for: a registered name or a weights file.
        probabilities: float32 [N, 7], calibrated.
        weights_sha256: Of its weights file; None when it has none.
        identity: The same, with its calibration where that has a power, or the backend's own `fingerprint`; None when
            it has neither.
        calibration: Temperature and power of its weights, when it has a weights file.
    """

    name: str
    probabilities: FloatArray
    weights_sha256: str | None
    identity: str | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Taught:
    """What several teachers say together.

    Attributes:
        probabilities: float32 [N, 7], the mean of theirs.
        sha256: The `identity` of each teacher, in their order.
    """

    probabilities: FloatArray
    sha256: tuple[str | None, ...]


def installed_host() -> PluginHost:
    """Return the installed plugins, with the settings of `affect.toml` and the environment."""
    return PluginHost(load_settings().settings.plugins)


def names_run(name: str) -> bool:
    """Whether a command's argument is the folder of a run, and not a backend beside which a folder of its name lies."""
    folder = Path(name)
    return folder.is_dir() and ((folder / RUN_JSON).exists() or name not in installed_host().backends)


def ask(
    name: str,
    images: ByteArray,
    device: Device,
    *,
    mirror: bool,
    cache: Path | None = CACHE,
    host: PluginHost | None = None,
) -> Answers:
    """Ask a backend about faces, or read what it said before.

    Args:
        name: A registered backend, or the path of a weights file.
        images: uint8 [N, 48, 48].
        device: Where it runs.
        mirror: Mean of the face and its mirror image; a backend that does so itself is asked once.
        cache: Folder; answers lie below `predictions`. None keeps nothing. A backend without weights file (and
            without a `fingerprint`) is asked every time.
        host: The plugins; the installed ones by default.

    Raises:
        AffectError: The backend is unknown, cannot be created, or fails on a face.
    """
    backend = (host or installed_host()).create_backend(name, device)
    try:
        both = mirror and not mirrors(backend)
        kept = _kept(cache, backend, images, device, both)
        found = _read(kept, len(images)) if kept else None
        if found is None:
            found = _probabilities(FaceClassifier(backend, device), name, images, mirror=both)
            if kept:
                _write(kept, found)
        sidecar = sidecar_of(backend)
        sha256, calibration = (sidecar.weights_sha256, sidecar.calibration) if sidecar else (None, None)
        return Answers(name, found, sha256, _identity(backend), calibration)
    finally:
        backend.close()


def teacher_probabilities(
    names: Sequence[str], images: ByteArray, device: Device, *, mirror: bool = True, cache: Path | None = CACHE
) -> Taught:
    """Ask several backends and take the mean of their calibrated probabilities.

    Args:
        names: Registered backends or paths of weights files.
        images: uint8 [N, 48, 48].
        device: Where they run.
        mirror: Mean of each face and its mirror image.
        cache: As for `ask`.

    Raises:
        SettingsError: No names.
        AffectError: As for `ask`.
    """
    if not names:
        raise SettingsError("a teacher is at least one backend or weights file; none is named")
    host = installed_host()
    total = np.zeros((len(images), len(EMOTIONS)), np.float64)
    identities = []
    for name in names:
        answers = ask(name, images, device, mirror=mirror, cache=cache, host=host)
        total += answers.probabilities
        identities.append(answers.identity)
    return Taught((total / len(names)).astype(np.float32), tuple(identities))


def _probabilities(classifier: FaceClassifier, name: str, images: ByteArray, *, mirror: bool) -> FloatArray:
    parts = []
    for start in range(0, len(images), _PART):
        part = images[start : start + _PART]
        answer = classifier.probabilities(list(part))
        if mirror:
            answer = answer + classifier.probabilities(list(np.ascontiguousarray(part[:, :, ::-1])))
        parts.append(answer / np.float32(2 if mirror else 1))
        log.info("%s: %d of %d faces", name, min(start + _PART, len(images)), len(images))
    return np.concatenate(parts) if parts else np.zeros((0, len(EMOTIONS)), np.float32)


def _identity(backend: Backend) -> str | None:
    identity, calibration = identity_of(backend), calibration_of(backend)
    if identity.weights_sha256 is not None and calibration.power != 1:
        return f"{identity.weights_sha256}, {calibration}"
    return identity.either


def _kept(cache: Path | None, backend: Backend, images: ByteArray, device: Device, mirror: bool) -> Path | None:
    """Return where the answers are kept; None when there is no telling whether they still hold."""
    identity = _identity(backend)
    if cache is None or identity is None:
        return None
    faces = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    served = [*calibration_of(backend).numbers(), backend.input.model_dump(mode="json")]
    text = json.dumps([identity, served, faces, list(images.shape), mirror, device.precision])
    return cache / "predictions" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npy"


def _read(kept: Path, count: int) -> FloatArray | None:
    try:
        found = np.load(kept)
    except FileNotFoundError:
        return None
    except (OSError, EOFError, ValueError) as exc:
        log.warning("%s: unreadable, asked anew: %s", kept, exc)
        return None
    if found.shape != (count, len(EMOTIONS)) or found.dtype != np.float32 or not np.isfinite(found).all():
        log.warning("%s: not what was kept, asked anew", kept)
        return None
    return np.asarray(found)


def _write(kept: Path, found: FloatArray) -> None:
    """Write whole or not at all; a disk that is full costs only asking again."""
    partial = kept.with_suffix(f".{os.getpid()}.partial")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.save(file, found)
        partial.replace(kept)
    except OSError as exc:
        log.warning("%s: not kept: %s", kept, exc)
        with contextlib.suppress(OSError):
            partial.unlink()
