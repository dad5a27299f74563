"""Where the face lies in FER2013's 48x48 images; measured, so that a webcam face looks like the training data.

How the numbers were got: `python -m affect_training.geometry --data fer2013.csv.gz --faces 2000` enlarges images of
the Training split four times, frames them with their repeated border and runs the detector `mtcnn`, which found a
face in 1,834 of 2,000 (91.7 %; the rest are turned away, covered or drawn). Medians over the 1,113 frontal ones,
in units of the image's side (quartile range .04 to .08): eyes (.316, .389) (.695, .385), nose (.506, .608), mouth
corners (.350, .786) (.663, .784). Training mirrors its images, so the points are made symmetric about x = .5.
"""

import numpy as np

from affect.types import CropGeometry, FloatArray
from affect.vision.crop import align, from_box

FER2013_CROP = CropGeometry(
    landmarks=((0.3104, 0.3868), (0.6896, 0.3868), (0.5, 0.6075), (0.3435, 0.7852), (0.6565, 0.7852)),
    source="medians of MTCNN landmarks over 1,113 frontal FER2013 Training faces, mirrored mean",
)

# The same run, detectors without landmarks: the image's side is 1.016 sides of a Haar box (quartiles .96, 1.10),
# its centre the box's centre within .002. Haar found 1,483 of the 2,000.
HAAR_CROP_SCALE = 1.016


def crop_affine(box: FloatArray, landmarks: FloatArray | None, geometry: CropGeometry) -> FloatArray:
    """Return the affine [2, 3] from a backend's crop to pixels, by landmarks or, without them, by the box.

    Args:
        box: xyxy pixels.
        landmarks: [5, 2] pixels or None.
        geometry: The backend's crop.
    """
    if landmarks is not None:
        return align(landmarks, geometry)
    # Another geometry than FER2013's is FER2013's scaled: compare the spread and the centre of the points.
    ours, theirs = FER2013_CROP.points(), geometry.points()
    ratio = float(np.ptp(ours[:, 1]) / np.ptp(theirs[:, 1]))
    shift = float(ours[:, 1].mean() - 0.5 - (theirs[:, 1].mean() - 0.5) * ratio)
    return from_box(box, scale=HAAR_CROP_SCALE * ratio, shift_y=HAAR_CROP_SCALE * shift)
