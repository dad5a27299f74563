"""What a face detector is, and the help those need that know no cheap refinement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from affect.types import ByteArray, Detection, FloatArray


@dataclass(frozen=True, slots=True)
class Hint:
    """What is known of a picture before detection, to save work; a detector may ignore it.

    Attributes:
        smallest: Side in pixels below which faces do not matter; 0 leaves it to the detector.
        known: Boxes xyxy of faces that need not be found again.
    """

    smallest: float = 0.0
    known: tuple[FloatArray, ...] = ()


class Detector(Protocol):
    """Finds faces. Stateless: tracking keeps the state of a session."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find all faces of each uint8 RGB image [H, W, 3], best first.

        Args:
            images: The pictures.
            hints: One a picture.
        """
        ...

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Look again where a face was.

        Args:
            images: One image a box.
            boxes: The face's last box xyxy in that image.

        Returns:
            The face there now, or None when there is none any more.
        """
        ...


def overlap(a: FloatArray, b: FloatArray) -> float:
    """Intersection over union of two xyxy boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inner = float(width * height)
    return inner / (area(a) + area(b) - inner)


def area(box: FloatArray) -> float:
    """Pixels of an xyxy box."""
    return float(max(box[2] - box[0], 0) * max(box[3] - box[1], 0))


def refine_by_search(
    detect: Callable[[ByteArray], list[Detection]], image: ByteArray, box: FloatArray, margin: float = 0.6
) -> Detection | None:
    """Refine for detectors without a verifying net: detect in the surroundings of the last box only.

    Args:
        detect: Finds faces in one image.
        image: uint8 RGB [H, W, 3].
        box: xyxy in it.
        margin: How far around the box to look, in sides of the box.

    Returns:
        The face that overlaps the box most, if by more than a quarter.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    x0, y0 = max(0, int(box[0] - margin * width)), max(0, int(box[1] - margin * height))
    x1 = min(image.shape[1], int(np.ceil(box[2] + margin * width)))
    y1 = min(image.shape[0], int(np.ceil(box[3] + margin * height)))
    if x1 - x0 < 12 or y1 - y0 < 12:
        return None
    shift = np.array([x0, y0], np.float32)
    best: Detection | None = None
    best_overlap = 0.25
    for found in detect(np.ascontiguousarray(image[y0:y1, x0:x1])):
        moved = Detection(
            found.box + np.tile(shift, 2),
            None if found.landmarks is None else found.landmarks + shift,
            found.score,
        )
        if (share := overlap(moved.box, box)) > best_overlap:
            best, best_overlap = moved, share
    return best
