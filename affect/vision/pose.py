"""Head pose from five landmarks by scaled orthography (DeMenthon & Davis 1995, the POS step).

Five points and no lens data give yaw to some degrees and pitch only roughly: a person's own proportions look like
pitch. It serves to tell "looks at the screen" from "turned away", not to measure gaze.
"""

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
    centred = np.asarray(landmarks, np.float64) - landmarks.mean(axis=0)
    rows = _INVERSE @ centred  # [3, 2]: scaled first two rows of the rotation
    i, j = rows[:, 0], rows[:, 1]
    if np.linalg.norm(i) < 1e-6 or np.linalg.norm(j) < 1e-6:
        return None
    # The nearest orthonormal pair: polar decomposition of the 3x2 matrix.
    u, _, v = np.linalg.svd(np.column_stack([i, j]), full_matrices=False)
    first, second = (u @ v).T
    third = np.cross(first, second)
    roll = float(np.arctan2(-first[1], second[1]))
    # The direction of the nose, in the picture turned upright: x to the right, y down, z to the camera.
    x = first[2] * np.cos(roll) + second[2] * np.sin(roll)
    y = second[2] * np.cos(roll) - first[2] * np.sin(roll)
    yaw, pitch = np.arctan2(x, third[2]), np.arcsin(np.clip(y, -1, 1))
    return HeadPose(float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll)))
