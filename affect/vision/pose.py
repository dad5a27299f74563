"""Head pose from five landmarks by scaled orthography (DeMenthon & Davis 1995, the POS step).

Five points and no lens data give yaw to some degrees and pitch only roughly: a person's own proportions look like
pitch. It serves to tell "looks at the screen" from "turned away", not to measure gaze.
"""

from math import asin, atan2, cos, degrees, sin, sqrt

import numpy as np

from affect.types import FloatArray, HeadPose
from affect.vision.geometry import FER2013_CROP

# The mean face: x and y are FER2013's median points (so the median face looks straight ahead), in distances
# between the eyes; depth towards the camera from anthropometry (Farkas 1994): the nose tip stands about .45
# eye distances before the eyes, the mouth corners about .1.
_EYES = FER2013_CROP.points()[1, 0] - FER2013_CROP.points()[0, 0]
MEAN_FACE = np.column_stack(
    [(FER2013_CROP.points() - FER2013_CROP.points().mean(axis=0)) / _EYES, [0.0, 0.0, 0.45, 0.1, 0.1]]
)
MEAN_FACE = MEAN_FACE - MEAN_FACE.mean(axis=0)
_INVERSE = np.linalg.pinv(MEAN_FACE)


def head_pose(landmarks: FloatArray) -> HeadPose | None:
    """Estimate the head pose.

    Args:
        landmarks: [5, 2] pixels: eyes, nose, mouth corners, left of the picture first.

    Returns:
        Degrees, or None when the points lie in one spot.
    """
    rows = (_INVERSE @ (landmarks - landmarks.mean(axis=0))).T.tolist()
    pair = _orthonormal(*rows)
    if pair is None:
        return None
    (ax, ay, az), (bx, by, bz) = pair
    toward = ax * by - ay * bx  # the third row's depth: how far the face looks to the camera
    roll = atan2(-ay, by)
    # The direction of the nose, in the picture turned upright: x to the right, y down.
    x = az * cos(roll) + bz * sin(roll)
    y = bz * cos(roll) - az * sin(roll)
    return HeadPose(degrees(atan2(x, toward)), degrees(asin(max(-1.0, min(1.0, y)))), degrees(roll))


def _orthonormal(i: list[float], j: list[float]) -> tuple[list[float], list[float]] | None:
    """Return the orthonormal pair nearest to two rows (polar decomposition); None when they do not span a plane."""
    ii, jj = sum(x * x for x in i), sum(x * x for x in j)
    ij = sum(x * y for x, y in zip(i, j, strict=True))
    square = ii * jj - ij * ij
    if square <= 1e-12 * max(ii, jj, 1e-12) ** 2:
        return None
    # (M'M)^(-1/2) of the 2x2 Gram matrix in closed form.
    s = sqrt(square)
    t = sqrt(ii + jj + 2 * s)
    scale = t / ((ii + s) * (jj + s) - ij * ij)
    first = [scale * ((jj + s) * x - ij * y) for x, y in zip(i, j, strict=True)]
    second = [scale * ((ii + s) * y - ij * x) for x, y in zip(i, j, strict=True)]
    return first, second
