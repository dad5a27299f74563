import cv2
import numpy as np
import pytest

from affect.types import ByteArray, FloatArray
from affect.vision.eyes import eye_opening
from affect.vision.geometry import FER2013_CROP

SIDE = 200


def drawn(openness: float, *, turn_deg: float = 0.0, contrast: int = 120) -> tuple[ByteArray, FloatArray]:
    """A face of skin with two dark eyes whose height is a share of the distance between them."""
    points = FER2013_CROP.points() * SIDE
    distance = float(points[1, 0] - points[0, 0])
    image = np.full((SIDE, SIDE, 3), 60 + contrast, np.uint8)
    for x, y in points[:2]:
        axes = (round(0.12 * distance), max(round(openness * distance / 2), 1))
        cv2.ellipse(image, (round(float(x)), round(float(y))), axes, 0, 0, 360, (60, 60, 60), -1)
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn_deg, 1.0)
    turned = cv2.warpAffine(image, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    moved = points @ turn[:, :2].T + turn[:, 2]
    return np.asarray(turned, np.uint8), moved.astype(np.float32)


@pytest.mark.parametrize("turn", [0.0, 20.0, -35.0])
def test_it_grows_with_the_eyes(turn: float) -> None:
    found = [eye_opening(*drawn(openness, turn_deg=turn)) for openness in (0.04, 0.1, 0.16, 0.22)]
    assert all(value is not None for value in found)
    assert found == sorted(found, key=lambda value: value or 0)
    assert found[3] == pytest.approx(0.22, abs=0.04)
    assert found[0] == pytest.approx(0.06, abs=0.04)


def test_it_is_in_distances_between_the_eyes() -> None:
    image, points = drawn(0.16)
    large = cv2.resize(image, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    assert eye_opening(np.asarray(large, np.uint8), points * 3) == pytest.approx(eye_opening(image, points), rel=0.1)


def test_the_less_open_eye_counts() -> None:
    wide, points = drawn(0.22)
    narrow, _ = drawn(0.06)
    half = wide.copy()
    half[:, : SIDE // 2] = narrow[:, : SIDE // 2]
    assert eye_opening(half, points) == pytest.approx(eye_opening(narrow, points), rel=1e-6)


def test_nothing_is_measured_where_there_is_nothing() -> None:
    _, points = drawn(0.2)
    assert eye_opening(np.full((SIDE, SIDE, 3), 90, np.uint8), points) is None
    tiny = points * 0.05
    assert eye_opening(drawn(0.2)[0], tiny) is None


def test_landmarks_beyond_the_picture_are_no_error() -> None:
    image, points = drawn(0.2)
    for shift in (-500.0, 500.0, -120.0, 120.0):
        found = eye_opening(image, points + np.float32(shift))
        assert found is None or 0 < found <= 0.5
