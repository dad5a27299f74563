import numpy as np
import pytest

from affect.types import CropGeometry
from affect.vision.crop import align
from affect.vision.geometry import FER2013_CROP, HAAR_CROP_SCALE, crop_affine

BOX = np.array([100, 50, 180, 140], np.float32)


def test_the_face_of_fer2013_is_symmetric_and_in_the_order_of_the_landmarks() -> None:
    left_eye, right_eye, nose, left_mouth, right_mouth = FER2013_CROP.points()
    for left, right in ((left_eye, right_eye), (left_mouth, right_mouth)):
        assert left[0] + right[0] == pytest.approx(1)
        assert left[0] < 0.5 < right[0]
        assert left[1] == right[1]
    assert nose[0] == 0.5
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_landmarks_decide_when_there_are_any() -> None:
    landmarks = (FER2013_CROP.points() * 70 + 20).astype(np.float32)
    found = crop_affine(BOX, landmarks, FER2013_CROP)
    assert np.array_equal(found, align(landmarks, FER2013_CROP))
    np.testing.assert_allclose(found, [[70, 0, 20], [0, 70, 20]], atol=1e-3)


def test_without_landmarks_the_crop_is_the_square_around_the_box() -> None:
    side = 90 * HAAR_CROP_SCALE
    expected = [[side, 0, 140 - side / 2], [0, side, 95 - side / 2]]
    np.testing.assert_allclose(crop_affine(BOX, None, FER2013_CROP), expected, rtol=1e-5)


@pytest.mark.parametrize(("scale", "down"), [(0.5, 0.0), (0.5, 0.1), (1.25, -0.08)])
def test_another_geometry_sees_the_same_face(scale: float, down: float) -> None:
    points = (FER2013_CROP.points() - 0.5) * scale + (0.5, 0.5 + down)
    other = CropGeometry(tuple((float(x), float(y)) for x, y in points), "scaled")

    def face(geometry: CropGeometry) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        matrix = crop_affine(BOX, None, geometry).astype(np.float64)
        return np.asarray(geometry.points() @ matrix[:, :2].T + matrix[:, 2])

    np.testing.assert_allclose(face(other), face(FER2013_CROP), atol=0.01)
