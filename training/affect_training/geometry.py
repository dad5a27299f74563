"""Measure the crop geometry of FER2013: where eyes, nose and mouth lie in its 48x48 images.

    python -m affect_training.geometry --data fer2013.csv.gz

Each image is enlarged four times (bicubic) and framed by its own repeated border, so that the detector sees a face
with surroundings; the medians over all frontal faces found go into `affect/vision/geometry.py` by hand.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from affect.settings.vision import HaarSettings, MtcnnSettings
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Detector
from affect.vision.haar import Haar
from affect.vision.mtcnn import Mtcnn
from affect_training.data import SIDE, load_faces

ENLARGE, BORDER = 4, 48


def framed(face: ByteArray) -> ByteArray:
    """Return a 48x48 face as an RGB picture of 288x288 with repeated borders."""
    large = cv2.resize(face, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC)
    with_border = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(with_border, cv2.COLOR_GRAY2RGB), np.uint8)


def to_unit(points: FloatArray) -> FloatArray:
    """Turn pixels of `framed` into units of the FER2013 image."""
    return np.asarray((points - BORDER) / (SIDE * ENLARGE), np.float32)


def largest(faces: list[Detection]) -> Detection | None:
    """Return the largest face."""
    return max(faces, key=lambda f: float(f.box[2] - f.box[0]), default=None)


def measure(detector: Detector, images: list[ByteArray]) -> tuple[FloatArray, FloatArray, int]:
    """Return landmarks [n, 5, 2] and boxes [m, 4] in units of the image, and how many images had a face."""
    landmarks, boxes = [], []
    for start in range(0, len(images), 32):
        for faces in detector.detect([framed(face) for face in images[start : start + 32]]):
            face = largest(faces)
            if face is None:
                continue
            boxes.append(to_unit(face.box.reshape(2, 2)).reshape(4))
            if face.landmarks is not None:
                landmarks.append(to_unit(face.landmarks))
    return np.array(landmarks, np.float32), np.array(boxes, np.float32), len(boxes)


def main() -> None:
    """Print the medians for each detector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=3000)
    arguments = parser.parse_args()
    training = load_faces(arguments.data).split("Training")
    pick = np.random.default_rng(0).permutation(len(training))[: arguments.faces]
    images = [training.images[k] for k in pick]
    for name, detector in (
        ("mtcnn", Mtcnn(MtcnnSettings(min_face=0.3), torch.device("cpu"))),
        ("haar", Haar(HaarSettings(min_face=0.3))),
    ):
        landmarks, boxes, found = measure(detector, images)
        print(f"{name}: a face in {found} of {len(images)} ({found / len(images):.1%})")
        side = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        shift = (0.5 - centre) / side[:, None]
        print("  crop side / box side   ", np.round(np.percentile(1 / side, [25, 50, 75]), 3))
        print("  crop centre - box, x, y", np.round(np.median(shift, axis=0), 3))
        if len(landmarks):
            eyes = landmarks[:, 1, 0] - landmarks[:, 0, 0]
            middle = (landmarks[:, 0, 0] + landmarks[:, 1, 0]) / 2
            frontal = np.abs(landmarks[:, 2, 0] - middle) < 0.12 * eyes
            print(f"  frontal {frontal.sum()}; medians and quartile ranges of the landmarks:")
            for points in (landmarks[frontal], landmarks):
                print(np.round(np.median(points, axis=0), 4).tolist())
                print(np.round(np.subtract(*np.percentile(points, [75, 25], axis=0)), 3).tolist())


if __name__ == "__main__":
    main()
