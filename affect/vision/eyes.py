"""How far the eyes are open, from the landmarks and the few pixels around them.

An eye is darkest at its iris; closed, what is dark is a thin line of lashes. So the measure is the height of what is
dark around the darkest point: to where it is half as dark as against the brighter of lid and cheek. It is rough (a
shadow, a frame of glasses or few pixels deceive it), but it tells lowered from open eyes of the same person, which
needs no labelled eyes to be fitted on.
"""

import cv2
import numpy as np

from affect.types import ByteArray, FloatArray

# The patch of an eye: .6 x .5 distances between the eyes, which holds lids and iris but no brow; [H, W] samples.
PATCH_WIDE, PATCH_HIGH = 0.6, 0.5
_ROWS, _COLUMNS = 20, 24
_LEAST_CONTRAST = 3.0  # grey levels; below it there is no eye to measure


def eye_opening(image: ByteArray, landmarks: FloatArray) -> float | None:
    """Measure the less open eye.

    Args:
        image: uint8 RGB [H, W, 3].
        landmarks: [5, 2] pixels of that image.

    Returns:
        Height of the dark part in distances between the eyes, about .08 (lowered) to .25; None where nothing can be
        measured.
    """
    across = landmarks[1] - landmarks[0]
    distance = float(np.hypot(across[0], across[1]))
    if distance < 8:
        return None
    heights = [_height(_patch(image, landmarks[k], across)) for k in (0, 1)]
    found = [height for height in heights if height is not None]
    return min(found) * PATCH_HIGH if found else None


def _patch(image: ByteArray, eye: FloatArray, across: FloatArray) -> FloatArray:
    """Cut the grey patch [20, 24] around an eye, upright with the face."""
    down = np.array([-across[1], across[0]])
    x_step, y_step = across * PATCH_WIDE / _COLUMNS, down * PATCH_HIGH / _ROWS
    corner = eye - (across * PATCH_WIDE + down * PATCH_HIGH) / 2
    affine = np.column_stack([x_step, y_step, corner + (x_step + y_step) / 2])
    # Only the pixels around the eye: the picture may be large, and colour costs.
    reach = int(np.hypot(across[0], across[1])) + 2
    x0, y0 = max(int(eye[0]) - reach, 0), max(int(eye[1]) - reach, 0)
    part = image[y0 : y0 + 2 * reach, x0 : x0 + 2 * reach]
    if part.size == 0:
        return np.zeros((_ROWS, _COLUMNS), np.float32)
    affine[:, 2] -= (x0, y0)
    patch = cv2.warpAffine(
        cv2.cvtColor(part, cv2.COLOR_RGB2GRAY),
        affine,
        (_COLUMNS, _ROWS),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cv2.GaussianBlur(patch.astype(np.float32), (0, 0), 1.0), np.float32)


def _height(patch: FloatArray) -> float | None:
    """Return how high the dark part around the darkest point is, as a share of the patch's height."""
    top, left = _ROWS // 4, _COLUMNS // 4
    zone = patch[top : 3 * top + 1, left : 3 * left + 1]
    row, column = divmod(int(zone.argmin()), zone.shape[1])
    row, column = row + top, column + left
    profile = patch[:, column - 1 : column + 2].mean(axis=1)
    lightest = float(min(profile[: row + 1].max(), profile[row:].max()))
    darkest = float(profile[row])
    if lightest - darkest < _LEAST_CONTRAST:
        return None
    half = (lightest + darkest) / 2
    return (_reach(profile[row:], half) + _reach(profile[row::-1], half)) / _ROWS


def _reach(profile: FloatArray, level: float) -> float:
    """Return how many rows it takes from the start of a profile to rise to a level, between rows too."""
    above = np.flatnonzero(profile >= level)
    if len(above) == 0:
        return float(len(profile))
    k = int(above[0])
    before, after = float(profile[k - 1]), float(profile[k])
    return k - 1 + (level - before) / (after - before)
