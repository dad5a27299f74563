"""Detector `yunet`: libfacedetection's YuNet through OpenCV, from a model file the user names.

No package of a registry carries the file (`face_detection_yunet_2023mar.onnx` of opencv_zoo, MIT); set its path as
`plugins.yunet.model`.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from affect.errors import BackendError, ErrorCode
from affect.settings.vision import YunetSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint, refine_by_search


class Yunet:
    """YuNet on the CPU."""

    def __init__(self, settings: YunetSettings) -> None:
        self.settings = settings
        if settings.model is None or not settings.model.is_file():
            raise BackendError(
                f"the detector `yunet` needs its model file, got {settings.model}; set plugins.yunet.model to the "
                "path of face_detection_yunet_2023mar.onnx",
                code=ErrorCode.BACKEND_UNAVAILABLE,
            )
        try:
            self._net = cv2.FaceDetectorYN.create(str(settings.model), "", (320, 320), settings.threshold, 0.3)
        except cv2.error as exc:
            raise BackendError(f"{settings.model}: not a YuNet model ({exc})", code=ErrorCode.BAD_CHECKPOINT) from exc

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find all faces of each image, best first; the whole scan is so fast that hints save nothing."""
        del hints
        return [self._detect(image) for image in images]

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Look again in the surroundings of each box."""
        return [refine_by_search(self._detect, i, b) for i, b in zip(images, boxes, strict=True)]

    def _detect(self, image: ByteArray) -> list[Detection]:
        height, width = image.shape[:2]
        ratio = min(1.0, self.settings.detect_side / max(height, width))
        size = max(16, round(width * ratio)), max(16, round(height * ratio))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        self._net.setInputSize(size)
        rows: Any
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        scale = np.array([width / size[0], height / size[1]], np.float32)
        faces = []
        for row in np.asarray(rows, np.float32):
            corner, extent = row[:2] * scale, row[2:4] * scale
            # Its points come as eye, eye, nose, mouth, mouth, from the left of the picture to the right.
            points = row[4:14].reshape(5, 2) * scale
            faces.append(Detection(np.concatenate([corner, corner + extent]), points, float(row[14])))
        return sorted(faces, key=lambda face: -face.score)
