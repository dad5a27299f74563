from math import cos, radians, sin

import numpy as np
import pytest
from numpy.typing import NDArray

from affect.types import FloatArray, HeadPose
from affect.vision.geometry import FER2013_CROP
from affect.vision.pose import MEAN_FACE, head_pose

Matrix = NDArray[np.float64]


def yawed(degrees: float) -> Matrix:
    """The nose (towards the camera, +z) goes to the right of the picture (+x)."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def pitched(degrees: float) -> Matrix:
    """The nose goes down the picture (+y)."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])


def rolled(degrees: float) -> Matrix:
    """The head turns clockwise in the picture: what was right (+x) goes down (+y)."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def seen(rotation: Matrix, scale: float = 40) -> FloatArray:
    """Project the mean face by scaled orthography."""
    return np.asarray((MEAN_FACE @ rotation.T)[:, :2] * scale + (160, 120), np.float32)


def pose(landmarks: FloatArray) -> HeadPose:
    found = head_pose(landmarks)
    assert found is not None
    return found


@pytest.mark.parametrize("side", [20, 48, 500])
def test_the_median_face_looks_straight_ahead(side: float) -> None:
    found = pose(FER2013_CROP.points() * side)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((0, 0, 0), abs=0.01)


@pytest.mark.parametrize("degrees", [-40, -25, -10, 10, 25, 40])
def test_yaw_grows_to_the_right_of_the_picture(degrees: float) -> None:
    found = pose(seen(yawed(degrees)))
    assert found.yaw == pytest.approx(degrees, abs=2)
    assert (found.pitch, found.roll) == pytest.approx((0, 0), abs=2)


@pytest.mark.parametrize("degrees", [-30, -10, 10, 30])
def test_pitch_grows_downwards(degrees: float) -> None:
    found = pose(seen(pitched(degrees)))
    assert found.pitch == pytest.approx(degrees, abs=2)
    assert (found.yaw, found.roll) == pytest.approx((0, 0), abs=2)


@pytest.mark.parametrize("degrees", [-90, -30, -10, 10, 30, 90])
def test_roll_grows_clockwise(degrees: float) -> None:
    found = pose(seen(rolled(degrees)))
    assert found.roll == pytest.approx(degrees, abs=2)
    assert (found.yaw, found.pitch) == pytest.approx((0, 0), abs=2)


@pytest.mark.parametrize("roll", [-35, 35])
@pytest.mark.parametrize("yaw", [-30, 30])
def test_a_tilted_head_that_looks_aside_keeps_its_yaw(yaw: float, roll: float) -> None:
    found = pose(seen(rolled(roll) @ yawed(yaw)))
    assert found.yaw == pytest.approx(yaw, abs=4)
    assert found.roll == pytest.approx(roll, abs=4)


@pytest.mark.parametrize("yaw", [-30, 0, 30])
def test_a_mirrored_face_looks_the_other_way(yaw: float) -> None:
    landmarks = seen(yawed(yaw) @ pitched(10))
    mirrored = landmarks[[1, 0, 2, 4, 3]] * (-1, 1) + (320, 0)
    assert pose(np.asarray(mirrored, np.float32)).yaw == pytest.approx(-pose(landmarks).yaw, abs=0.1)


def test_a_pixel_of_noise_costs_a_few_degrees() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        landmarks = np.asarray(seen(yawed(20)) + rng.normal(0, 0.5, (5, 2)), np.float32)
        assert pose(landmarks).yaw == pytest.approx(20, abs=6)


@pytest.mark.parametrize(
    "points",
    [np.full((5, 2), 7), [[3, y] for y in range(5)], [[x, 3] for x in range(5)]],
    ids=["one spot", "upright line", "level line"],
)
def test_degenerate_points_have_no_pose(points: object) -> None:
    assert head_pose(np.array(points, np.float32)) is None
