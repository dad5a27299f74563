"""What the service's own pipeline sees in labelled faces and clips: detector, crop, backend, pose and eyes.

A face crop is not a frame: it is padded by its border and enlarged, so that the detector finds the face in it and the
crop is placed by landmarks as in serving; where none is found, the central square is taken. Found on DAiSEE's train
people, cross-validated: placing by landmarks gives better AUCs than any fixed square.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from affect.errors import AffectError, MediaError
from affect.pipeline import FrameJob, Pipeline, build_pipeline, with_offline_search
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.types import ByteArray, Detection, FloatArray, Frame, FrameFaces
from affect.video import Sampling, Video
from affect.vision.detector import Detector, Hint
from affect.vision.geometry import HAAR_CROP_SCALE
from affect.vision.tracking import Tracker
from affect_training.learner.labels import Labelled, LabelledSet

SIDE = 360
"""A padded crop is enlarged to this side, if it is smaller."""

PADDED = 1.5
"""Side of the padded square in longer sides of the crop."""

BATCH = 64

Watched = list[FrameFaces]
Progress = Callable[[int], None]


@dataclass(slots=True)
class CropDetector:
    """A detector for pictures that are face crops: the largest face found, else the middle of the picture.

    Args:
        detector: Looks for the face; None takes the middle always.
        known: Detections by picture, kept between runs: detection is most of the work.
    """

    detector: Detector | None
    known: dict[str, FloatArray] = field(default_factory=dict)

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        """Find the face of each picture."""
        del hints
        keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        new = [k for k, key in enumerate(keys) if key not in self.known]
        if new and self.detector is not None:
            for k, faces in zip(new, self.detector.detect([images[k] for k in new]), strict=True):
                self.known[keys[k]] = _row(faces)
        return [
            [_face(self.known.get(key), image) if self.detector is not None else _middle(image)]
            for key, image in zip(keys, images, strict=True)
        ]

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        """Find it again; a crop is seen once only."""
        del boxes
        return [faces[0] for faces in self.detect(images)]


def _row(faces: Sequence[Detection]) -> FloatArray:
    """Return a detection as 15 numbers (box, score, landmarks); NaN for none."""
    row = np.full(15, np.nan, np.float32)
    if faces:
        best = max(faces, key=lambda face: float(np.prod(face.box[2:] - face.box[:2])))
        row[:4], row[4] = best.box, best.score
        if best.landmarks is not None:
            row[5:] = best.landmarks.reshape(-1)
    return row


def _face(row: FloatArray | None, image: ByteArray) -> Detection:
    if row is None or np.isnan(row[0]):
        return _middle(image)
    landmarks = None if np.isnan(row[5]) else row[5:].reshape(5, 2).copy()
    return Detection(row[:4].copy(), landmarks, float(row[4]))


def _middle(image: ByteArray) -> Detection:
    """Take the square that the unpadded crop's shorter side gives, about its centre."""
    side = min(image.shape[:2]) / PADDED / HAAR_CROP_SCALE
    centre = np.array([image.shape[1], image.shape[0]]) / 2
    return Detection(np.concatenate([centre - side / 2, centre + side / 2]).astype(np.float32), None, 0.0)


def padded(crop: bytes) -> ByteArray:
    """Decode a face crop and give it room: a square with the crop in the middle, its border repeated.

    Raises:
        MediaError: It is no picture.
    """
    bgr = cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR) if crop else None
    if bgr is None:
        raise MediaError(f"a face of {len(crop)} bytes is no picture")
    high, wide = bgr.shape[:2]
    side = round(PADDED * max(high, wide))
    top, left = (side - high) // 2, (side - wide) // 2
    square = cv2.copyMakeBorder(bgr, top, side - high - top, left, side - wide - left, cv2.BORDER_REPLICATE)
    if side < SIDE:
        square = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(cv2.cvtColor(square, cv2.COLOR_BGR2RGB), np.uint8)


class Watcher:
    """The pipeline of some settings, for labelled faces and clips.

    Args:
        settings: Backend, detector, device.
        host: Plugins.
        details: Compute embeddings and eyes; by default when the configured estimator reads them.
        align: Look for the face in crops; otherwise take their middle.
        cache: Folder in which detections in crops are kept.
    """

    def __init__(
        self,
        settings: Settings,
        host: PluginHost,
        *,
        details: bool | None = None,
        align: bool = True,
        cache: Path | None = None,
    ) -> None:
        self.settings = with_offline_search(settings)
        self.pipeline: Pipeline = build_pipeline(self.settings, host, details=details)
        self._detector = self.pipeline.detector
        self._align = align
        spec = host.detectors.get(settings.vision.detector)
        asked = f"{spec.name} {host.settings_of(spec).model_dump_json()} {SIDE} {PADDED}"
        name = f"learner-{spec.name}-{hashlib.sha256(asked.encode()).hexdigest()[:12]}.safetensors"
        self._cache = None if cache is None else cache / name

    def watch(self, data: LabelledSet, progress: Progress, *, every: int = 1) -> list[Watched]:
        """Return what is seen in each face (one frame) or clip (every Nth frame)."""
        if data.kind == "faces":
            return [[frame] for frame in self._crops(data.items, progress)]
        seen = []
        for item in data.items:
            assert isinstance(item.source, Path)
            seen.append(self.video(item.source, every))
            progress(1)
        return seen

    def video(self, path: Path, every: int = 1) -> Watched:
        """Return what is seen in a video; a frame that cannot be used is left out.

        Raises:
            MediaError: It cannot be opened.
        """
        self.pipeline.detector = self._detector
        tracker = Tracker(self.settings.vision)
        with Video(path, Sampling(every)) as video:
            jobs = (FrameJob(Frame(frame.t, frame.index, frame.image), tracker) for frame in video)
            return [faces for faces in self._process(jobs) if isinstance(faces, FrameFaces)]

    def _crops(self, items: Sequence[Labelled], progress: Progress) -> Iterator[FrameFaces]:
        detector = CropDetector(self._detector if self._align else None, self._remembered())
        before = len(detector.known)
        self.pipeline.detector = detector
        jobs = (
            FrameJob(Frame(0.0, k, padded(item.source)), Tracker(self.settings.vision))
            for k, item in enumerate(items)
            if isinstance(item.source, bytes)
        )
        for faces in self._process(jobs):
            if isinstance(faces, AffectError):
                raise faces
            yield faces
            progress(1)
        if len(detector.known) > before:
            self._remember(detector.known)

    def _process(self, jobs: Iterator[FrameJob]) -> Iterator[FrameFaces | AffectError]:
        batch: list[FrameJob] = []
        with torch.inference_mode():
            for job in jobs:
                batch.append(job)
                if len(batch) == BATCH:
                    yield from self.pipeline.process([self.pipeline.prepare(job) for job in batch])
                    batch = []
            if batch:
                yield from self.pipeline.process([self.pipeline.prepare(job) for job in batch])

    def _remember(self, known: dict[str, FloatArray]) -> None:
        if self._cache is None:
            return
        names = np.frombuffer(bytes.fromhex("".join(known)), np.uint8).reshape(-1, 32)
        with suppress(OSError):  # where nothing can be kept, the next run looks again
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            save_file({"pictures": names, "faces": np.stack(list(known.values()))}, self._cache)

    def _remembered(self) -> dict[str, FloatArray]:
        if self._cache is None or not self._cache.is_file():
            return {}
        try:
            kept = load_file(self._cache)
            return {name.tobytes().hex(): row for name, row in zip(kept["pictures"], kept["faces"], strict=True)}
        except (OSError, SafetensorError, KeyError):
            return {}
