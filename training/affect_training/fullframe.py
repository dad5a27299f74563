"""Labelled faces in whole pictures: does the pipeline find them, and read them like the crops it was trained on?

Faces of a split are enlarged 3 to 6 times (bicubic) and laid at random places of 640x480 pictures with a random
background; detector, tracker, crop and backend then see each picture twice: the first time the face is searched for,
the second time the track is refined, which is what most frames of a session go through. The same faces, cropped as the
data set has them, are the measure.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch

from affect.errors import AffectError
from affect.labels import EMOTIONS
from affect.pictures import FaceClassifier
from affect.pipeline import FrameJob, Pipeline
from affect.types import ByteArray, Face, FloatArray, Frame
from affect.vision.detector import overlap
from affect.vision.tracking import Tracker
from affect_training.data import SIDE, Split
from affect_training.evaluation import metrics

WIDTH, HEIGHT = 640, 480
ENLARGE = (3.0, 6.0)
SAME_PLACE = 0.25
"""Least overlap (intersection over union) of a found face's box with the square that was pasted."""
FRAME_S = 0.2


@dataclass(frozen=True, slots=True)
class FullFrame:
    """What became of the faces; accuracies are of the faces that were found.

    Attributes:
        n, found: Faces, and how many were found at their place.
        recall: found / n, with its 95 % interval.
        accuracy_first: By the search's crop.
        accuracy_tracked: By the tracker's in the next frame, of the faces that are still tracked there.
        lost: Faces that were found, and gone in the next frame.
        accuracy_direct: Of the same faces cropped as the data set has them.
        accuracy_direct_all: Of all faces, the missed ones too.
        missed: How many of each emotion were missed, of how many.
        false_faces: Boxes elsewhere in the pictures.
    """

    backend: str
    detector: str
    n: int
    found: int
    recall: float
    recall_ci95: tuple[float, float]
    accuracy_first: float
    accuracy_tracked: float
    lost: int
    accuracy_direct: float
    accuracy_direct_all: float
    difference_ci95: tuple[float, float]
    missed: dict[str, tuple[int, int]]
    false_faces: int

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return asdict(self)


def background(rng: np.random.Generator) -> ByteArray:
    """Return RGB [480, 640, 3]: smooth patches of colour at three scales with sensor noise, no face in it."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for cells, share in ((3, 0.5), (12, 0.3), (48, 0.2)):
        patch = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
        picture += share * np.asarray(cv2.resize(patch, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)
    picture += rng.normal(0, 4, picture.shape).astype(np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)


def paste(face: ByteArray, rng: np.random.Generator) -> tuple[ByteArray, FloatArray]:
    """Lay a face uint8 [48, 48] somewhere in a picture; returns RGB [480, 640, 3] and the square's box, xyxy pixels."""
    side = round(SIDE * rng.uniform(*ENLARGE))
    picture = background(rng)
    left, top = int(rng.integers(0, WIDTH - side + 1)), int(rng.integers(0, HEIGHT - side + 1))
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    picture[top : top + side, left : left + side] = large[:, :, None]
    return picture, np.array([left, top, left + side, top + side], np.float32)


def full_frame(
    pipeline: Pipeline, split: Split, *, backend: str, detector: str, limit: int | None = 700, seed: int = 0
) -> FullFrame:
    """Lay faces of a split into pictures and run the whole pipeline on them.

    Args:
        pipeline: With `settings.all_faces`, so that every found face is classified.
        split: Labelled faces.
        backend, detector: What the pipeline was built of, for the report.
        limit: Faces, drawn at random; None takes all.
        seed: Of the draw, the places and the backgrounds.
    """
    order = np.random.default_rng(seed).permutation(len(split))[:limit]
    rows, first, tracked, false_faces = [], [], {}, 0
    for number, row in enumerate(order):
        picture, square = paste(split.images[row], np.random.default_rng((seed, number)))
        once, twice, others = _look_twice(pipeline, picture, square)
        false_faces += others
        if once is None or once.probabilities is None:
            continue
        rows.append(int(row))
        first.append(once.probabilities)
        if twice is not None and twice.probabilities is not None:
            tracked[int(row)] = twice.probabilities
    direct = FaceClassifier(pipeline.backend, pipeline.device).probabilities([split.images[k] for k in order])
    return _report(split, order, rows, _stack(first), tracked, direct, backend, detector, false_faces)


def _look_twice(pipeline: Pipeline, picture: ByteArray, square: FloatArray) -> tuple[Face | None, Face | None, int]:
    tracker = Tracker(pipeline.settings)
    seen: list[Face | None] = []
    others = 0
    for number in range(2):
        job = FrameJob(Frame(number * FRAME_S, number, picture), tracker)
        with torch.inference_mode():
            (result,) = pipeline.process([pipeline.prepare(job)])
        if isinstance(result, AffectError):
            raise result
        here = [face for face in result.faces if overlap(face.box, square) >= SAME_PLACE]
        seen.append(max(here, key=lambda face: overlap(face.box, square), default=None))
        others += len(result.faces) - len(here) if number == 0 else 0
    return seen[0], seen[1], others


def _stack(rows: Sequence[FloatArray | None]) -> FloatArray:
    known = [row for row in rows if row is not None]
    return np.stack(known) if known else np.zeros((0, len(EMOTIONS)), np.float32)


def _report(
    split: Split,
    order: np.ndarray[tuple[int], np.dtype[np.int64]],
    rows: list[int],
    first: FloatArray,
    tracked: Mapping[int, FloatArray],
    direct: FloatArray,
    backend: str,
    detector: str,
    false_faces: int,
) -> FullFrame:
    was_found = np.isin(order, rows)
    labels, found_labels = split.labels[order], split.labels[rows]
    direct_right = direct.argmax(1) == labels
    still = np.isin(order, list(tracked))
    tracked_right = np.array([tracked[row].argmax() for row in order[still]], np.int64) == labels[still]
    count = Counter(labels.tolist())
    gone = Counter(labels[~was_found].tolist())
    difference = tracked_right.astype(np.float64) - direct_right[still]
    return FullFrame(
        backend=backend,
        detector=detector,
        n=len(order),
        found=len(rows),
        recall=float(was_found.mean()),
        recall_ci95=metrics.bootstrap_ci95(was_found),
        accuracy_first=_mean(first.argmax(1) == found_labels),
        accuracy_tracked=_mean(tracked_right),
        lost=len(rows) - len(tracked),
        accuracy_direct=_mean(direct_right[was_found]),
        accuracy_direct_all=_mean(direct_right),
        difference_ci95=metrics.bootstrap_ci95(difference) if len(difference) else (0.0, 0.0),
        missed={e.value: (gone[k], count[k]) for k, e in enumerate(EMOTIONS)},
        false_faces=false_faces,
    )


def _mean(values: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(values.mean()) if len(values) else float("nan")
