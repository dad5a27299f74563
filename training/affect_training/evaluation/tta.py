"""Test-time augmentation: the same face seen several ways, and the mean of the answers."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Literal, get_args

import numpy as np
import torch

from affect.errors import SettingsError
from affect.inference.backend import Backend
from affect.inference.optional import MirroringBackend, mirrors
from affect.pictures import FaceClassifier
from affect.types import ByteArray
from affect_training.augment import Augment
from affect_training.config import AugmentConfig
from affect_training.evaluation.metrics import Floats

Tta = Literal["none", "mirror", "shift", "shift-mirror", "augmented"]
KINDS: tuple[Tta, ...] = get_args(Tta)

SHIFTS: tuple[tuple[int, int], ...] = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
"""Pixels down and right of a 48x48 face. Of 1, 2 and 3 pixels along the axes and the diagonals, `cnn` on PublicTest
prefers none by accuracy (all within .006); 3 pixels and diagonals cost likelihood."""

COPIES = 7
"""Boulis, Hemdan & Osama, section 4.3: "horizontal flip and seven augmented images"; with the face nine views."""

AUGMENTED = AugmentConfig(mirror=True, rotation_deg=10.0, zoom=(0.9, 1.1), shift=0.1)
"""Their section 4.1: mirror, +-10 degrees, +-10 % zoom and shift."""

_SEED = 0
_PART = 1024
"""Faces augmented at once: bounds memory."""


def views(images: ByteArray, kind: Tta) -> Iterator[ByteArray]:
    """Return each view of all faces; the first is the faces as they are.

    Args:
        images: uint8 [N, H, W].
        kind: none (one view), mirror (two), shift (five), shift-mirror (ten: each shift and its mirror image),
            augmented (nine: the face, its mirror image, and seven random copies, the same ones every time).

    Raises:
        SettingsError: No such kind.
    """
    if kind not in KINDS:
        raise SettingsError(f"tta is one of {', '.join(KINDS)}, not {kind!r}")
    for down, right in SHIFTS if kind.startswith("shift") else SHIFTS[:1]:
        view = shifted(images, down, right)
        yield view
        if kind.endswith("mirror") or kind == "augmented":
            yield np.ascontiguousarray(view[:, :, ::-1])
    if kind == "augmented":
        for copy in range(COPIES):
            yield augmented(images, copy)


def served_views(kind: Tta) -> int:
    """Return how many of the first views of a kind a backend can be served with: the face, or it and its mirror."""
    return 1 if kind in ("none", "shift") else 2


def shifted(images: ByteArray, down: int, right: int) -> ByteArray:
    """Move faces [N, H, W] by whole pixels; the border repeats."""
    if not down and not right:
        return images
    margin = max(abs(down), abs(right))
    _, height, width = images.shape
    wide = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    top, left = margin - down, margin - right
    return np.ascontiguousarray(wide[:, top : top + height, left : left + width])


def augmented(images: ByteArray, copy: int) -> ByteArray:
    """Change faces [N, H, W] at random as `AUGMENTED` says; the same faces and copy give the same pictures."""
    generator = torch.Generator().manual_seed(_SEED + copy)
    augment = Augment(AUGMENTED, generator)
    parts = []
    for start in range(0, len(images), _PART):
        faces = torch.from_numpy(np.array(images[start : start + _PART], np.float32))[:, None] / 255
        parts.append(augment(faces).mul(255).round().clamp(0, 255).byte()[:, 0].numpy())
    return np.concatenate(parts) if parts else images


def predict_views(classifier: FaceClassifier, images: ByteArray, kind: Tta = "none") -> Floats:
    """Classify every view; their mean over the first axis is the answer, entry 0 the single view's.

    A backend that looks at mirror images by itself (an ensemble) does not while views are made here. Only for `mirror`
    it is asked as it is served: its answer, the mean of both by its own rules, is then the one view there is.

    Returns:
        Calibrated probabilities [views, N, 7].
    """
    as_served = kind == "mirror" and mirrors(classifier.backend)
    with nullcontext() if as_served else _single_view(classifier.backend):
        wanted = views(images, "none" if as_served else kind)
        return np.stack([classifier.probabilities(list(view)).astype(np.float64) for view in wanted])


@contextmanager
def _single_view(backend: Backend) -> Iterator[None]:
    if not isinstance(backend, MirroringBackend) or not backend.mirror:
        yield
        return
    backend.mirror = False
    try:
        yield
    finally:
        backend.mirror = True
