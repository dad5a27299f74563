"""Detector `haar`: Viola & Jones' cascade as OpenCV ships it; the detector of Khaburska & Yurkiv's system.

It gives no landmarks, so no head pose, and the crop is the upright square around the box.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from affect.errors import BackendError, ErrorCode
from affect.settings.vision import HaarSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint, refine_by_search


class Haar:
    """The frontal-face cascade on the CPU."""

    def __init__(self, settings: HaarSettings) -> None:
        self.settings = settings
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise BackendError(f"{path}: OpenCV has no such cascade", code=ErrorCode.BACKEND_UNAVAILABLE)

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find all faces of each image, best first."""
        hints = hints or [Hint()] * len(images)
        sides = [
            max(20.0, hint.smallest, self.settings.min_face * min(image.shape[:2]))
            for hint, image in zip(hints, images, strict=True)
        ]
        return [self._detect(image, int(side)) for image, side in zip(images, sides, strict=True)]

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Look again in the surroundings of each box, for faces of about its size."""
        found = []
        for image, box in zip(images, boxes, strict=True):
            least = max(20, int(0.7 * (box[2] - box[0])))
            found.append(refine_by_search(partial(self._detect, least=least), image, box, margin=0.35))
        return found

    def _detect(self, image: ByteArray, least: int) -> list[Detection]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=self.settings.scale_factor,
            minNeighbors=self.settings.min_neighbors,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        faces = [
            # The cascade's last stage sum grows with certainty; squashed it serves as a score.
            Detection(np.array([x, y, x + w, y + h], np.float32), None, float(1 / (1 + np.exp(-weight / 2))))
            for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
        ]
        return sorted(faces, key=lambda face: -face.score)
