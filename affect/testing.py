"""For authors of backends: the contract every backend passes, and fakes that implement the real interfaces."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real

import numpy as np
import torch

from affect.errors import AffectError, BackendError
from affect.inference.backend import Backend
from affect.inference.checkpoint import InputSpec, Sidecar
from affect.inference.classify import classify, probabilities
from affect.inference.device import Device
from affect.inference.optional import (
    EmbeddingBackend,
    FingerprintBackend,
    MirroringBackend,
    PoweredBackend,
    VotingBackend,
    WeightsBackend,
)
from affect.labels import EMOTIONS
from affect.plugins import PluginHost
from affect.settings import PluginSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint
from affect.vision.geometry import FER2013_CROP


class ContractError(AffectError):
    """A backend breaks the contract; the message says which clause and how."""


def check_backend(backend: Backend, *, tolerance: float = 0.05, device: torch.device | None = None) -> None:
    """Check a backend against the contract.

    1. `input` is an `InputSpec`, `temperature` a positive number.
    2. `warmup` may be called before anything else, and twice.
    3. `predict` returns finite float logits [N, 7] for batches of 1, 2, 5 and 16, on the device of its input.
    4. It is stateless: the same faces give the same answer, whatever came between and in whatever company.
    5. It looks at the picture: different faces do not all give the same answer.
    6. Black, white and noise are answered with finite probabilities that sum to 1.
    7. If it has `predict_and_embed`: the logits are those of `predict`, and the embeddings finite floats [N, D] of one
       D for batches of 1, 2, 5 and 16, or None for each of them.
    8. What else it has of `affect.inference.optional` is as said there: `power` a positive number, `mirror` a bool that
       can be set, `sidecar` a `Sidecar`, `fingerprint` a string, `manifest` a mapping with `members`, `vote` and
       `mirror`; the last three may be None.

    Args:
        backend: What is checked; it is not closed.
        tolerance: Largest difference of a probability between batch sizes (reduced precision rounds).
        device: Where it runs; found out by trying when not given: the CPU or the current GPU.

    Raises:
        ContractError: The first clause that does not hold.
    """
    spec = backend.input
    _require(isinstance(spec, InputSpec), f"input must be an InputSpec, got {type(spec).__name__}")
    _require(backend.temperature > 0, f"temperature must be positive, got {backend.temperature}")
    backend.warmup()
    backend.warmup()
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, spec.channels, 6, 6, generator=generator)
    faces = torch.nn.functional.interpolate(coarse, size=(spec.size, spec.size), mode="bicubic").clamp(0, 1)
    device = device or _device_of(backend, faces)
    faces = (faces - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)
    faces = faces.to(device)
    whole = _predict(backend, faces)
    for count in (1, 2, 5):
        part = _predict(backend, faces[:count])
        gap = float((part - whole[:count]).abs().max())
        _require(gap <= tolerance, f"a face's answer changes by {gap:.3f} between batches of {count} and 16")
    again = _predict(backend, faces)
    _require(float((again - whole).abs().max()) <= 1e-3, "the same batch twice gives different answers")
    _require(float((whole - whole[:1]).abs().max()) > 1e-6, "all faces get the same answer")
    for value in (0.0, 1.0):
        flat = torch.full((2, spec.channels, spec.size, spec.size), value)
        flat = (flat - torch.tensor(spec.mean).view(1, -1, 1, 1)) / torch.tensor(spec.std).view(1, -1, 1, 1)
        _predict(backend, flat.to(device))
    crops = torch.rand(3, spec.channels, spec.size, spec.size, generator=generator).to(device)
    for row in classify(backend, crops):
        if isinstance(row, BackendError):
            raise ContractError(row.message)
        _require(abs(float(row.sum()) - 1) < 1e-3, f"probabilities sum to {float(row.sum()):.4f}")
    if isinstance(backend, EmbeddingBackend):
        _check_embeddings(backend, faces, whole, tolerance)
    _check_optional(backend)


def _check_embeddings(backend: Backend, faces: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Check clause 7; `expected` are the probabilities [16, 7] of `predict`."""
    assert isinstance(backend, EmbeddingBackend)
    lengths = set()
    for count in (1, 2, 5, len(faces)):
        logits, embeddings = backend.predict_and_embed(faces[:count])
        found = _checked(backend, logits, faces[:count])
        gap = float((found - expected[:count]).abs().max())
        _require(
            gap <= tolerance, f"predict_and_embed gives other logits than predict: a probability differs by {gap:.3f}"
        )
        lengths.add(None if embeddings is None else _embedding_length(embeddings, faces[:count]))
    _require(
        len(lengths) == 1, f"embeddings must have one length always, got {', '.join(sorted(str(n) for n in lengths))}"
    )


def _embedding_length(embeddings: torch.Tensor, faces: torch.Tensor) -> int:
    shape = list(embeddings.shape)
    _require(len(shape) == 2 and shape[0] == len(faces), f"embeddings must be [{len(faces)}, D], got {shape}")
    _require(embeddings.is_floating_point(), f"embeddings must be floating point, got {embeddings.dtype}")
    _require(embeddings.device.type == faces.device.type, f"embeddings are on {embeddings.device}, not {faces.device}")
    _require(bool(torch.isfinite(embeddings).all()), "embeddings must be finite")
    return shape[1]


def _check_optional(backend: Backend) -> None:
    """Check clause 8."""
    if isinstance(backend, PoweredBackend):
        power: object = backend.power
        _require(
            isinstance(power, Real) and 0 < float(power) < math.inf, f"power must be a positive number, got {power!r}"
        )
    if isinstance(backend, MirroringBackend):
        _require(isinstance(backend.mirror, bool), f"mirror must be True or False, got {backend.mirror!r}")
        _require(_can_set_mirror(backend), "mirror must be an attribute that can be set, not a read-only property")
    if isinstance(backend, WeightsBackend):
        sidecar = backend.sidecar
        _require(
            isinstance(sidecar, Sidecar | None), f"sidecar must be a Sidecar or None, got {type(sidecar).__name__}"
        )
    if isinstance(backend, FingerprintBackend):
        found = backend.fingerprint
        _require(isinstance(found, str | None), f"fingerprint must be a string or None, got {found!r}")
    if isinstance(backend, VotingBackend):
        manifest: object = backend.manifest
        _require(
            manifest is None or (isinstance(manifest, Mapping) and {"members", "vote", "mirror"} <= manifest.keys()),
            f"manifest must be a mapping with members, vote and mirror, or None, got {manifest!r}",
        )


def _can_set_mirror(backend: MirroringBackend) -> bool:
    try:
        backend.mirror = bool(backend.mirror)
    except AttributeError:
        return False
    return True


def check_registered(name: str, *, device: str = "cpu", settings: PluginSettings | None = None) -> None:
    """Create a backend and check it.

    Args:
        name: A registered backend, or the path of a weights file.
        device: `auto | cpu | cuda:N`.
        settings: The table `[plugins]`, for a backend that must be configured.

    Raises:
        AffectError: It is unknown, cannot be created, or breaks the contract.
    """
    place = Device(device)
    backend = PluginHost(settings).create_backend(name, place)
    try:
        check_backend(backend, device=place.torch)
    finally:
        backend.close()


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ContractError(message)


def _device_of(backend: Backend, faces: torch.Tensor) -> torch.device:
    """The device the backend runs on: the CPU unless it refuses CPU tensors and there is a GPU."""
    if not torch.cuda.is_available():
        return faces.device
    try:
        backend.predict(faces[:1])
    except (RuntimeError, AffectError):  # an ensemble says which member refused
        return torch.device("cuda")
    return faces.device


def _predict(backend: Backend, faces: torch.Tensor) -> torch.Tensor:
    return _checked(backend, backend.predict(faces), faces)


def _checked(backend: Backend, logits: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Return the probabilities [N, 7] of logits that keep clause 3."""
    expected = (len(faces), len(EMOTIONS))
    _require(tuple(logits.shape) == expected, f"logits must be {list(expected)}, got {list(logits.shape)}")
    _require(logits.is_floating_point(), f"logits must be floating point, got {logits.dtype}")
    _require(logits.device.type == faces.device.type, f"logits are on {logits.device}, faces on {faces.device}")
    _require(bool(torch.isfinite(logits).all()), "logits must be finite")
    return probabilities(logits, backend.temperature)


class FakeBackend:
    """A backend whose answer the test decides: the mean grey value of a face picks the emotion.

    Args:
        fail: Raised by every prediction, if given.
        nan_rows: Faces darker than this (0-1) get NaN logits.
        poison: A batch with a face darker than this raises.
    """

    def __init__(
        self, *, fail: Exception | None = None, nan_rows: float | None = None, poison: float | None = None
    ) -> None:
        self.fail, self.nan_rows, self.poison = fail, nan_rows, poison
        self.batches: list[int] = []
        self.closed = False

    input = InputSpec(size=48, channels=1, mean=(0.0,), std=(1.0,), crop=FER2013_CROP)
    temperature = 1.0

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        """Return logits that favour emotion floor(7 * mean grey)."""
        self.batches.append(len(faces))
        if self.fail is not None:
            raise self.fail
        grey = faces.mean(dim=(1, 2, 3))
        if self.poison is not None and bool((grey < self.poison).any()):
            raise RuntimeError("poisoned batch")
        index = (grey * len(EMOTIONS)).long().clamp(0, len(EMOTIONS) - 1)
        logits = torch.nn.functional.one_hot(index, len(EMOTIONS)).float() * 4 + grey[:, None]
        if self.nan_rows is not None:
            logits[grey < self.nan_rows] = float("nan")
        return logits

    def warmup(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class FakeDetector:
    """A detector that sees one face in the middle half of every picture that is not black."""

    def __init__(self) -> None:
        self.detections = 0
        self.refinements = 0

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find the face."""
        del hints
        self.detections += len(images)
        return [self._find(image) for image in images]

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Find it again."""
        self.refinements += len(images)
        return [next(iter(self._find(image)), None) for image in images]

    def _find(self, image: ByteArray) -> list[Detection]:
        if int(image.max()) == 0:
            return []
        height, width = image.shape[:2]
        box = np.array([width / 4, height / 4, width * 3 / 4, height * 3 / 4], np.float32)
        points = FER2013_CROP.points() * (box[2:] - box[:2]) + box[:2]
        return [Detection(box, points.astype(np.float32), 1.0)]
