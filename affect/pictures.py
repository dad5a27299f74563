"""Single pictures: emotion probabilities of face crops, and all faces of a picture. No sessions, no time."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from affect.errors import AffectError, BackendError, ErrorCode, FrameError
from affect.inference.backend import Backend
from affect.inference.checkpoint import InputSpec
from affect.inference.classify import classify
from affect.inference.device import Device
from affect.labels import EMOTIONS
from affect.pipeline import FrameJob, Pipeline, build_pipeline
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.load import load_settings
from affect.types import ByteArray, Face, FloatArray, Frame
from affect.vision.crop import crop_faces
from affect.vision.tracking import Tracker

_KEPT: dict[str, Pipeline] = {}
"""Pipelines of `analyze_image` by settings: models load once a process."""


class FaceClassifier:
    """A backend for pictures that are already cropped to the face."""

    def __init__(self, backend: Backend, device: Device) -> None:
        self.backend, self.device = backend, device

    def probabilities(self, crops: Sequence[ByteArray], batch_size: int = 256) -> FloatArray:
        """Classify faces.

        Args:
            crops: uint8 arrays, grey [H, W] or RGB [H, W, 3], any size, each cropped to the face the way FER2013
                is: the square holds the face from the brow's upper edge to the chin (see `affect.vision.geometry`).
            batch_size: Faces in one forward pass.

        Returns:
            float32 [N, 7], calibrated, in the order of `affect.labels.EMOTIONS`.

        Raises:
            FrameError: A crop is not such an array; names its index.
            BackendError: The backend failed on a crop; names its index.
        """
        given: object = crops
        if isinstance(given, np.ndarray) and (given.ndim == 2 or (given.ndim == 3 and given.shape[2] == 3)):
            raise FrameError(f"expected a list of crops, got one array {list(given.shape)}; pass [crop]")
        rows = np.empty((len(crops), len(EMOTIONS)), np.float32)
        images = [_as_rgb(crop, k) for k, crop in enumerate(crops)]
        for start in range(0, len(images), batch_size):
            faces = whole_faces(images[start : start + batch_size], self.backend.input, self.device.torch)
            for k, row in enumerate(classify(self.backend, faces), start=start):
                if isinstance(row, AffectError):
                    raise BackendError(f"crop {k}: {row.message}", code=row.code) from row
                rows[k] = row
        return rows


def whole_faces(images: Sequence[ByteArray], spec: InputSpec, device: torch.device) -> torch.Tensor:
    """Make a backend's crops of pictures that are cropped to the face already, stretched to its square.

    Args:
        images: uint8 arrays, grey [H, W] or RGB [H, W, 3], each of any size.
        spec: What the backend wants.
        device: Where the crops are made.

    Returns:
        float32 [N, C, S, S], 0-1, not normalised yet.

    Raises:
        FrameError: A picture is not such an array; names its index.
    """
    colour = [_as_rgb(image, k) for k, image in enumerate(images)]
    affines = [_whole(image) for image in colour]
    return crop_faces(colour, affines, size=spec.size, channels=spec.channels, device=device)


def load_backend(
    name: str | Path | None = None, *, settings: Settings | None = None, device: str | None = None
) -> FaceClassifier:
    """Load a backend for face crops.

    Args:
        name: A registered backend, or the path of a `.safetensors` file; the configured one when not given.
        settings: Everything; `affect.toml`, environment and defaults when not given.
        device: `auto | cpu | cuda:N`; the configured one when not given.

    Raises:
        AffectError: The name is unknown, the weights cannot be served, or the backend could not be created.
    """
    settings = settings or load_settings().settings
    host = PluginHost(settings.plugins)
    where = Device(device or settings.inference.device, settings.inference.precision)
    return FaceClassifier(host.create_backend(str(name or settings.inference.backend), where), where)


def analyze_image(picture: bytes | str | Path | ByteArray, *, settings: Settings | None = None) -> tuple[Face, ...]:
    """Find and classify all faces of a picture.

    Args:
        picture: A file's path, JPEG/PNG/WebP bytes, or a uint8 array RGB [H, W, 3] or grey [H, W].
        settings: Everything; `affect.toml`, environment and defaults when not given. The models are kept loaded.

    Returns:
        Faces, largest first, with box, landmarks, head pose and probabilities.

    Raises:
        FrameError: The picture cannot be decoded or breaks a limit.
        BackendError: The backend failed on a face.
    """
    pipeline = _pipeline(settings or load_settings().settings)
    image = Path(picture).read_bytes() if isinstance(picture, str | Path) else picture
    job = FrameJob(Frame(0.0, 0, image), Tracker(pipeline.settings))
    with torch.inference_mode():
        (found,) = pipeline.process([pipeline.prepare(job)])
    if isinstance(found, AffectError):
        raise found
    for code, message in found.warnings:
        raise BackendError(message, code=ErrorCode(code))
    return tuple(sorted(found.faces, key=lambda face: -float(np.prod(face.box[2:] - face.box[:2]))))


def _pipeline(settings: Settings) -> Pipeline:
    vision = settings.vision.model_copy(update={"all_faces": True})
    chosen = settings.model_copy(update={"vision": vision})
    key = chosen.model_dump_json()
    if key not in _KEPT:
        # Without details: embeddings identify people, and nobody here reads them.
        _KEPT[key] = build_pipeline(chosen, PluginHost(chosen.plugins), details=False)
    return _KEPT[key]


def _as_rgb(crop: ByteArray, index: int) -> ByteArray:
    if not isinstance(crop, np.ndarray) or crop.dtype != np.uint8 or crop.ndim not in (2, 3) or min(crop.shape) < 1:
        got = f"{crop.dtype} {list(crop.shape)}" if isinstance(crop, np.ndarray) else type(crop).__name__
        raise FrameError(
            f"crop {index}: expected uint8 [H, W] or [H, W, 3], got {got}", code=ErrorCode.UNSUPPORTED_MEDIA
        )
    if crop.ndim == 2 or crop.shape[2] == 1:
        return np.asarray(cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB), np.uint8)
    if crop.shape[2] != 3:
        raise FrameError(f"crop {index}: expected 1 or 3 channels, got {crop.shape[2]}")
    return crop


def _whole(image: ByteArray) -> FloatArray:
    """The affine of the whole picture, stretched to the square."""
    height, width = image.shape[:2]
    return np.array([[width, 0, 0], [0, height, 0]], np.float32)
