"""How accuracy falls as pictures get worse: seven corruptions, each over five severities.

In the manner of Hendrycks & Dietterich 2019, with severities in units of the corruption itself and chosen for 48x48
grey faces. The dice of a corruption are the same at every severity and in every call with the same seed, so a curve
is smooth, and two models see the same pictures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from affect.errors import MediaError
from affect.labels import EMOTIONS
from affect.types import ByteArray
from affect_training.data import Split
from affect_training.evaluation import metrics
from affect_training.evaluation.metrics import Floats

SAMPLE = 1000
"""Faces a curve is measured on unless told otherwise: intervals of +-3 points, 36,000 predictions in all."""

Predict = Callable[[ByteArray], Floats]
Progress = Callable[[str], None]
Corrupt = Callable[[ByteArray, float, np.random.Generator], ByteArray]


def add_noise(images: ByteArray, deviation: float, rng: np.random.Generator) -> ByteArray:
    """Add Gaussian noise; the deviation is in grey levels."""
    return _bytes(images + deviation * rng.standard_normal(images.shape))


def blur(images: ByteArray, sigma: float, rng: np.random.Generator) -> ByteArray:
    """Blur by a Gaussian; sigma is in pixels."""
    return _each(images, lambda image, _: cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE))


def jpeg(images: ByteArray, quality: float, rng: np.random.Generator) -> ByteArray:
    """Encode and decode as JPEG of a quality 1-100."""

    def there_and_back(image: ByteArray, _: int) -> ByteArray:
        stream = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
        return np.asarray(cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE), np.uint8)

    return _each(images, there_and_back)


def darken(images: ByteArray, factor: float, rng: np.random.Generator) -> ByteArray:
    """Multiply the light by a factor below one; shadows lose grey levels."""
    return _bytes(images * factor)


def flatten(images: ByteArray, factor: float, rng: np.random.Generator) -> ByteArray:
    """Multiply the contrast around each picture's mean by a factor below one."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _bytes(mean + (images - mean) * factor)


def occlude(images: ByteArray, share: float, rng: np.random.Generator) -> ByteArray:
    """Cover a square of a share of the area, anywhere in the picture, with mid-grey."""
    _, height, width = images.shape
    side_y, side_x = round(height * share**0.5), round(width * share**0.5)
    places = rng.random((len(images), 2))
    covered = images.copy()
    for image, (y, x) in zip(covered, places, strict=True):
        top, left = int(y * (height - side_y + 1)), int(x * (width - side_x + 1))
        image[top : top + side_y, left : left + side_x] = 128
    return covered


def rotate(images: ByteArray, degrees: float, rng: np.random.Generator) -> ByteArray:
    """Turn about the centre, half of the faces to each side; the border repeats."""
    _, height, width = images.shape
    sides = np.where(rng.random(len(images)) < 0.5, -1, 1)

    def turn(image: ByteArray, k: int) -> ByteArray:
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(sides[k]) * degrees, 1.0)
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    return _each(images, turn)


@dataclass(frozen=True, slots=True)
class Corruption:
    """What is done to a picture, over which severities (mild to strong), in which unit."""

    apply: Corrupt
    unit: str
    severities: tuple[float, ...]


CORRUPTIONS: Mapping[str, Corruption] = {
    "noise": Corruption(add_noise, "deviation in grey levels", (5, 10, 20, 35, 50)),
    "blur": Corruption(blur, "sigma in pixels", (0.5, 1, 1.5, 2, 3)),
    "jpeg": Corruption(jpeg, "quality", (80, 50, 30, 15, 5)),
    "darkness": Corruption(darken, "light left", (0.7, 0.5, 0.3, 0.15, 0.05)),
    "low contrast": Corruption(flatten, "contrast left", (0.7, 0.5, 0.3, 0.15, 0.05)),
    "occlusion": Corruption(occlude, "share of the area", (0.05, 0.1, 0.2, 0.3, 0.4)),
    "rotation": Corruption(rotate, "degrees", (5, 10, 20, 30, 45)),
}


@dataclass(frozen=True, slots=True)
class Point:
    """Accuracy and macro recall at one severity; 0 stands for the untouched pictures."""

    severity: float
    accuracy: float
    accuracy_ci95: tuple[float, float]
    macro_recall: float


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one corruption from mild to strong, and their mean accuracy."""

    unit: str
    points: tuple[Point, ...]
    mean: float


@dataclass(frozen=True, slots=True)
class Robustness:
    """Curves by corruption, on how many faces, and the mean accuracy over all corruptions and severities."""

    n: int
    seed: int
    clean: Point
    mean: float
    curves: dict[str, Curve]


def sample(split: Split, limit: int | None, seed: int = 0) -> Split:
    """Return at most `limit` faces, drawn without replacement and kept in the file's order."""
    if limit is None or limit >= len(split):
        return split
    return split.take(np.sort(np.random.default_rng(seed).permutation(len(split))[:limit]))


def robustness(
    predict: Predict,
    split: Split,
    *,
    limit: int | None = SAMPLE,
    corruptions: Mapping[str, Corruption] = CORRUPTIONS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Robustness:
    """Measure the curves.

    Args:
        predict: From faces uint8 [N, H, W] to probabilities [N, 7].
        split: Where the faces come from.
        limit: At most so many of them.
        corruptions: Which.
        seed: Of the sample and of the corruptions' dice.
        progress: Called with the name of each corruption before it is measured.

    Raises:
        MediaError: There are no faces.
    """
    faces = sample(split, limit, seed)
    if not len(faces):
        raise MediaError("no faces to measure robustness on")
    clean = _point(predict(faces.images), faces, 0.0)
    curves = {}
    for name, corruption in corruptions.items():
        if progress is not None:
            progress(name)
        points = [
            _point(predict(corruption.apply(faces.images, severity, _dice(seed, name))), faces, severity)
            for severity in corruption.severities
        ]
        curves[name] = Curve(corruption.unit, tuple(points), float(np.mean([point.accuracy for point in points])))
    return Robustness(len(faces), seed, clean, float(np.mean([curve.mean for curve in curves.values()])), curves)


def _dice(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng([seed, *name.encode()])


def _point(probabilities: Floats, faces: Split, severity: float) -> Point:
    counts = metrics.confusion(probabilities.argmax(1), faces.labels, len(EMOTIONS))
    return Point(
        severity=severity,
        accuracy=float(metrics.accuracy_of(counts)),
        accuracy_ci95=metrics.counts_ci95(counts, metrics.accuracy_of),
        macro_recall=float(metrics.macro_recall_of(counts)),
    )


def _each(images: ByteArray, change: Callable[[ByteArray, int], object]) -> ByteArray:
    return np.stack([np.asarray(change(image, k), np.uint8) for k, image in enumerate(images)])


def _bytes(values: NDArray[np.floating]) -> ByteArray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
