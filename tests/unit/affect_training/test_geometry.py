from collections.abc import Sequence

import numpy as np
from affect_training.geometry import framed, largest, measure, to_unit

from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint


def box(x0: float, y0: float, x1: float, y1: float) -> FloatArray:
    return np.array([x0, y0, x1, y1], np.float32)


def test_a_framed_face_is_four_times_as_large_and_its_border_repeats() -> None:
    face = np.repeat(np.repeat(np.array([[0, 200], [80, 240]], np.uint8), 24, 0), 24, 1)
    picture = framed(face)
    assert picture.shape == (288, 288, 3)
    assert picture[10, 10].tolist() == [0, 0, 0]
    assert picture[277, 277].tolist() == [240, 240, 240]
    assert picture[100, 200].tolist() == [200, 200, 200]


def test_units_are_sides_of_the_small_image() -> None:
    points = np.array([[48, 48], [240, 240], [144, 96]], np.float32)
    assert to_unit(points).tolist() == [[0, 0], [1, 1], [0.5, 0.25]]


def test_the_largest_face_counts() -> None:
    small, large = Detection(box(0, 0, 10, 10), None, 1.0), Detection(box(0, 0, 30, 30), None, 0.5)
    assert largest([small, large]) is large
    assert largest([]) is None


class Sees:
    """Sees a face with landmarks in bright pictures, one without in grey ones, none in dark ones."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        del hints
        answers: list[list[Detection]] = []
        for image in images:
            level = int(image.mean())
            points = np.full((5, 2), 144, np.float32) if level > 150 else None
            answers.append([Detection(box(96, 96, 192, 192), points, 1.0)] if level > 50 else [])
        return answers

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        raise NotImplementedError


def test_measuring_collects_landmarks_and_boxes_in_units_of_the_image() -> None:
    images = [np.full((48, 48), level, np.uint8) for level in (0, 100, 200, 200, 0, 100)] * 10
    landmarks, boxes, found = measure(Sees(), images)
    assert found == 40
    assert boxes.shape == (40, 4)
    assert np.array_equal(boxes[7], np.array([0.25, 0.25, 0.75, 0.75], np.float32))
    assert landmarks.shape == (20, 5, 2)
    assert np.unique(landmarks).tolist() == [0.5]
