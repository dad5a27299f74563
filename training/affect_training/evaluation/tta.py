"""Test-time augmentation: the same face seen several ways, and the mean of the answers."""

from collections.abc import Iterator
from typing import Literal, get_args

import numpy as np

from affect.errors import SettingsError
from affect.pictures import FaceClassifier
from affect.types import ByteArray
from affect_training.evaluation.metrics import Floats

Tta = Literal["none", "mirror", "shift", "shift-mirror"]
KINDS: tuple[Tta, ...] = get_args(Tta)

SHIFTS: tuple[tuple[int, int], ...] = ((0, 0), (-2, 0), (2, 0), (0, -2), (0, 2))
"""Pixels down and right of a 48x48 face. Of 1, 2 and 3 pixels along the axes and the diagonals, `cnn` on PublicTest
prefers none by accuracy (all within .006); 3 pixels and diagonals cost likelihood."""


def views(images: ByteArray, kind: Tta) -> Iterator[ByteArray]:
    """Return each view of all faces; the first is the faces as they are.

    Args:
        images: uint8 [N, H, W].
        kind: none (one view), mirror (two), shift (five), shift-mirror (ten).

    Raises:
        SettingsError: No such kind.
    """
    if kind not in KINDS:
        raise SettingsError(f"tta is one of {', '.join(KINDS)}, not {kind!r}")
    for down, right in SHIFTS if kind.startswith("shift") else SHIFTS[:1]:
        view = shifted(images, down, right)
        yield view
        if kind.endswith("mirror"):
            yield np.ascontiguousarray(view[:, :, ::-1])


def shifted(images: ByteArray, down: int, right: int) -> ByteArray:
    """Move faces [N, H, W] by whole pixels; the border repeats."""
    if not down and not right:
        return images
    margin = max(abs(down), abs(right))
    _, height, width = images.shape
    wide = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="edge")
    top, left = margin - down, margin - right
    return np.ascontiguousarray(wide[:, top : top + height, left : left + width])


def predict_views(classifier: FaceClassifier, images: ByteArray, kind: Tta = "none") -> Floats:
    """Classify every view; their mean over the first axis is the answer, entry 0 the single view's.

    Returns:
        Calibrated probabilities [views, N, 7].
    """
    return np.stack([classifier.probabilities(list(view)).astype(np.float64) for view in views(images, kind)])
