"""What the faces look like and how many of each there are: a sample sheet and a class histogram.

A sheet shows faces of the data set: keep it where the data may be kept, never in the repository.
"""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect.types import ByteArray
from affect_training.data.faces import SIDE, FaceData, IndexArray, Split

_GAP = 2
_CAPTION = 120


def histogram(data: FaceData) -> dict[str, IndexArray]:
    """Return how many faces of each emotion each split has, int64 [7]."""
    return {
        name: np.bincount(split.labels, minlength=len(EMOTIONS)).astype(np.int64) for name, split in data.splits.items()
    }


def sample_sheet(split: Split, per_class: int = 16, seed: int = 0, enlarge: int = 1) -> ByteArray:
    """Draw faces of each emotion, one row an emotion, with its name and how many there are.

    Args:
        split: The faces; an emotion without any leaves its row empty.
        per_class: Faces in a row, drawn at random, each at most once.
        seed: The same seed draws the same faces.
        enlarge: Whole factor of the faces' size.

    Returns:
        Grey uint8 [H, W].
    """
    rng = np.random.default_rng(seed)
    side = SIDE * enlarge
    step = side + _GAP
    sheet: NDArray[np.uint8] = np.full((len(EMOTIONS) * step + _GAP, _CAPTION + per_class * step + _GAP), 255, np.uint8)
    for k, emotion in enumerate(EMOTIONS):
        members = np.flatnonzero(split.labels == k)
        top = _GAP + k * step
        _write(sheet, f"{emotion}", top + side // 2 - 2)
        _write(sheet, f"n = {len(members)}", top + side // 2 + 14)
        for n, index in enumerate(rng.permutation(members)[:per_class]):
            left = _CAPTION + n * step
            face = split.images[index].repeat(enlarge, axis=0).repeat(enlarge, axis=1)
            sheet[top : top + side, left : left + side] = face
    return sheet


def write_png(image: ByteArray, path: Path) -> None:
    """Write a picture.

    Raises:
        MediaError: The file cannot be written, or is not called .png.
    """
    if path.suffix.lower() != ".png":
        raise MediaError(f"{path}: expected a name that ends in .png")
    try:
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    except OSError as exc:
        raise MediaError(f"{path}: cannot be written: {exc}") from exc


def _write(sheet: NDArray[np.uint8], text: str, y: int) -> None:
    cv2.putText(sheet, text, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0.0,), 1, cv2.LINE_AA)
