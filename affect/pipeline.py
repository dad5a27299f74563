"""The pipeline that joins the stages: decode -> detect or track -> crop -> classify, for frames of many sessions.

It belongs to one thread (the engine's) except `prepare`, which may run on several. Each session brings its own
`Tracker`; everything else here is shared by all sessions.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from affect.errors import AffectError, BackendError, ErrorCode, FrameError
from affect.fits import reads_faces
from affect.inference.backend import Backend
from affect.inference.bisect import bisect
from affect.inference.classify import Reading, read
from affect.inference.device import Device
from affect.inference.engine import InferenceEngine, LocalEngine
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.settings.vision import VisionSettings
from affect.types import Detection, Face, FloatArray, Frame, FrameFaces
from affect.vision.crop import crop_faces
from affect.vision.decode import Picture, decode
from affect.vision.detector import Detector, Hint
from affect.vision.eyes import eye_opening
from affect.vision.geometry import crop_affine
from affect.vision.pose import head_pose
from affect.vision.tracking import Track, Tracker

T = TypeVar("T")
A = TypeVar("A")

# A crop is trusted fully from 40 source pixels and a contrast (standard deviation, 0-1) of .05 on. [D]
FULL_QUALITY_SIDE, FULL_QUALITY_CONTRAST = 40.0, 0.05
_Answers = dict[tuple[int, int], tuple[Reading | BackendError, float]]
STAGES = ("decode", "detect", "track", "crop", "classify")


@dataclass(frozen=True, slots=True)
class FrameJob:
    """A frame and the session it belongs to."""

    frame: Frame
    tracker: Tracker


@dataclass(frozen=True, slots=True)
class PreparedFrame:
    """A decoded frame."""

    job: FrameJob
    picture: Picture


FrameEngine = InferenceEngine[FrameJob, FrameFaces]


@dataclass(slots=True)
class StageTime:
    """Seconds spent in a stage and how many items (frames, faces) went through it."""

    seconds: float = 0.0
    items: int = 0


class Pipeline:
    """All stages of one device.

    Args:
        detector: Finds and refines faces.
        backend: Classifies crops.
        device: Where crops are made.
        settings: Of vision.
        details: Give faces their embedding and eye opening, for an estimator that reads them.
    """

    def __init__(
        self,
        detector: Detector,
        backend: Backend,
        device: Device,
        settings: VisionSettings,
        *,
        details: bool = False,
    ) -> None:
        self.detector, self.backend, self.device, self.settings = detector, backend, device, settings
        self.details = details
        self.times = {stage: StageTime() for stage in STAGES}

    def warmup(self) -> None:
        """Run one blank frame, so that the first real one does not wait for kernels to be chosen.

        Raises:
            FrameError: The detector fails even on that.
        """
        # Not decoded: whatever limits are set are for pictures of others.
        blank = Picture(np.full((240, 320, 3), 127, np.uint8), width=320, height=240, scale=1.0)
        with torch.inference_mode():
            (found,) = self._detect([(blank, Hint())])
            self._refine([(blank, np.array([100, 60, 200, 180], np.float32))])
        if isinstance(found, FrameError):
            raise found
        for total in self.times.values():
            total.seconds, total.items = 0.0, 0

    def prepare(self, job: FrameJob) -> PreparedFrame:
        """Decode one frame.

        Raises:
            FrameError: It cannot be decoded or breaks a limit.
        """
        started = time.perf_counter()
        picture = decode(job.frame.image, self.settings)
        self._count("decode", started, 1)
        return PreparedFrame(job, picture)

    def process(self, batch: Sequence[PreparedFrame]) -> list[FrameFaces | AffectError]:
        """Find, track and classify the faces of a batch; several frames of one session must be in order."""
        found: dict[int, tuple[tuple[Track, ...], int | None] | FrameError] = {}
        waiting = list(enumerate(batch))
        while waiting:  # a session's next frame needs what the one before left behind
            now: list[tuple[int, PreparedFrame]] = []
            later: list[tuple[int, PreparedFrame]] = []
            busy: set[int] = set()
            for k, prepared in waiting:
                (later if id(prepared.job.tracker) in busy else now).append((k, prepared))
                busy.add(id(prepared.job.tracker))
            errors = self._locate([prepared for _, prepared in now])
            for (k, prepared), error in zip(now, errors, strict=True):
                tracker = prepared.job.tracker
                found[k] = error or (tracker.visible, tracker.followed)
            waiting = later
        return self._classify(batch, [found[k] for k in range(len(batch))])

    def _locate(self, batch: Sequence[PreparedFrame]) -> list[FrameError | None]:
        """Bring the trackers of frames of different sessions up to date; return each frame's error."""
        errors: list[FrameError | None] = [None] * len(batch)
        trackers = [prepared.job.tracker for prepared in batch]
        for tracker, prepared in zip(trackers, batch, strict=True):
            tracker.frame_size(prepared.picture.image.shape[1], prepared.picture.image.shape[0])
        due = {k for k, prepared in enumerate(batch) if trackers[k].due(prepared.job.frame.t)}
        tracked = [(k, track) for k, tracker in enumerate(trackers) for track in tracker.visible]
        refined = self._refine([(batch[k].picture, track.face.box) for k, track in tracked])
        answers: list[list[Detection | None]] = [[] for _ in batch]
        for (k, _), answer in zip(tracked, refined, strict=True):
            if isinstance(answer, FrameError):
                errors[k] = answer
                answers[k].append(None)
            else:
                answers[k].append(answer)
        for k, faces in enumerate(answers):
            if trackers[k].refined(batch[k].job.frame.t, faces):
                due.add(k)
        looked = sorted(due)
        wanted = [(batch[k].picture, trackers[k].hint) for k in looked]
        for k, found in zip(looked, self._detect(wanted), strict=True):
            if isinstance(found, FrameError):
                errors[k] = found
            else:
                errors[k] = None
                trackers[k].detected(batch[k].job.frame.t, found)
        return errors

    def _detect(self, pictures: list[tuple[Picture, Hint]]) -> list[list[Detection] | FrameError]:
        def run(items: list[tuple[Picture, Hint]]) -> list[list[Detection] | FrameError]:
            images, hints = [p.image for p, _ in items], [hint for _, hint in items]
            return list(_guarded(lambda: self.detector.detect(images, hints), len(items)))

        started = time.perf_counter()
        answers = [_checked(answer, answer) for answer in bisect(run, pictures, FrameError)]
        self._count("detect", started, len(pictures))
        return answers

    def _refine(self, items: list[tuple[Picture, FloatArray]]) -> list[Detection | FrameError | None]:
        def run(some: list[tuple[Picture, FloatArray]]) -> list[Detection | FrameError | None]:
            images, boxes = [p.image for p, _ in some], [box for _, box in some]
            return list(_guarded(lambda: self.detector.refine(images, boxes), len(some)))

        started = time.perf_counter()
        answers = [
            _checked(answer, [answer] if isinstance(answer, Detection) else [])
            for answer in bisect(run, items, FrameError)
        ]
        self._count("track", started, len(items))
        return answers

    def _classify(
        self,
        batch: Sequence[PreparedFrame],
        found: Sequence[tuple[tuple[Track, ...], int | None] | FrameError],
    ) -> list[FrameFaces | AffectError]:
        wanted: list[tuple[int, Track]] = []
        for k, entry in enumerate(found):
            if isinstance(entry, FrameError):
                continue
            tracks, followed = entry
            wanted += [(k, track) for track in tracks if self.settings.all_faces or track.id == followed]
        answers: _Answers = {}
        if wanted:
            started = time.perf_counter()
            crops = self.crop([batch[k].picture for k, _ in wanted], [track.face for _, track in wanted])
            contrast = crops.flatten(1).std(dim=1).cpu().numpy()
            self._count("crop", started, len(wanted))
            started = time.perf_counter()
            rows = read(self.backend, crops, embed=self.details)
            self._count("classify", started, len(wanted))
            for (k, track), row, spread in zip(wanted, rows, contrast, strict=True):
                answers[k, track.id] = row, float(spread)
        return [self._result(k, batch[k], entry, answers) for k, entry in enumerate(found)]

    def crop(self, pictures: Sequence[Picture], faces: Sequence[Detection]) -> torch.Tensor:
        """Cut the crops [N, C, S, S], 0-1, that the backend was trained on."""
        spec = self.backend.input
        return crop_faces(
            [picture.image for picture in pictures],
            [crop_affine(face.box, face.landmarks, spec.crop) for face in faces],
            size=spec.size,
            channels=spec.channels,
            device=self.device.torch,
        )

    def _result(
        self,
        k: int,
        prepared: PreparedFrame,
        entry: tuple[tuple[Track, ...], int | None] | FrameError,
        answers: _Answers,
    ) -> FrameFaces | AffectError:
        if isinstance(entry, FrameError):
            return entry
        tracks, followed = entry
        picture, frame = prepared.picture, prepared.job.frame
        faces, warnings = [], []
        for track in tracks:
            row, contrast = answers.get((k, track.id), (None, FULL_QUALITY_CONTRAST))
            if isinstance(row, BackendError):
                warnings.append((row.code.value, row.message))
                row = None
            faces.append(_face(track, picture, row, contrast, details=self.details))
        return FrameFaces(
            t=frame.t,
            seq=frame.seq,
            width=picture.width,
            height=picture.height,
            faces=tuple(faces),
            followed=followed if any(face.track_id == followed for face in faces) else None,
            warnings=tuple(warnings),
        )

    def _count(self, stage: str, started: float, items: int) -> None:
        total = self.times[stage]
        total.seconds += time.perf_counter() - started
        total.items += items


def _guarded(call: Callable[[], Sequence[T]], expected: int) -> Sequence[T]:
    """Run a detector plugin; whatever goes wrong becomes a `FrameError`."""
    try:
        answer = call()
    except Exception as exc:
        raise FrameError(f"the detector raised {type(exc).__name__}: {exc}", code=ErrorCode.DETECTOR_FAILED) from exc
    if len(answer) != expected:
        raise FrameError(f"the detector answered {len(answer)} of {expected} images", code=ErrorCode.DETECTOR_FAILED)
    return answer


def _checked(answer: A, faces: Sequence[Detection] | FrameError) -> A | FrameError:
    """Return a detector's answer, or the error that it is not made of finite numbers."""
    if isinstance(faces, FrameError):
        return answer
    for face in faces:
        parts = (face.box, [face.score], [0.0] if face.landmarks is None else face.landmarks)
        if not all(np.isfinite(part).all() for part in parts):
            return FrameError("the detector gave a face that is not finite", code=ErrorCode.DETECTOR_FAILED)
    return answer


def _face(track: Track, picture: Picture, row: Reading | None, contrast: float, *, details: bool) -> Face:
    found, scale = track.face, picture.scale
    side = float(max(found.box[2] - found.box[0], found.box[3] - found.box[1])) * scale
    quality = min(1.0, side / FULL_QUALITY_SIDE) * min(1.0, contrast / FULL_QUALITY_CONTRAST)
    return Face(
        track_id=track.id,
        box=found.box * scale,
        landmarks=None if found.landmarks is None else found.landmarks * scale,
        score=found.score,
        pose=None if found.landmarks is None else head_pose(found.landmarks),
        quality=quality,
        probabilities=None if row is None else row.probabilities,
        embedding=None if row is None else row.embedding,
        eye_opening=eye_opening(picture.image, found.landmarks)
        if details and row is not None and found.landmarks is not None
        else None,
    )


def build_pipeline(settings: Settings, host: PluginHost, *, details: bool | None = None) -> Pipeline:
    """Create detector and backend as settings say, on the device they name.

    Args:
        settings: Everything.
        host: The plugins.
        details: As for `Pipeline`; by default what the configured estimator wants.

    Raises:
        AffectError: A name is unknown, a setting wrong, or a plugin could not be created.
    """
    device = Device(settings.inference.device, settings.inference.precision)
    if settings.inference.torch_threads:
        torch.set_num_threads(settings.inference.torch_threads)
    detector = host.create_detector(settings.vision.detector, device)
    backend = host.create_backend(settings.inference.backend, device)
    try:
        backend.warmup()
    except AffectError:
        raise
    except Exception as exc:
        raise BackendError(
            f"backend {settings.inference.backend!r} failed to warm up: {type(exc).__name__}: {exc}",
            code=ErrorCode.BACKEND_UNAVAILABLE,
        ) from exc
    wanted = reads_faces(settings, host) if details is None else details
    pipeline = Pipeline(detector, backend, device, settings.vision, details=wanted)
    pipeline.warmup()
    return pipeline


def build_engine(pipeline: Pipeline, settings: Settings) -> LocalEngine[FrameJob, PreparedFrame, FrameFaces]:
    """Put a pipeline behind the thread that owns its device."""
    return LocalEngine(
        pipeline.prepare,
        pipeline.process,
        device=pipeline.device,
        lane=lambda job: id(job.tracker),
        max_batch=settings.inference.max_batch,
        workers=decode_threads(settings),
    )


def decode_threads(settings: Settings) -> int:
    """Threads that decode: as set, or half the cores."""
    return settings.inference.decode_threads or min(8, max(1, (os.cpu_count() or 2) // 2))


def with_offline_search(settings: Settings) -> Settings:
    """Return settings for files: nothing is dropped there, so a missing face is looked for in every frame.

    Unless somebody set `vision.search_s`.
    """
    if "search_s" in settings.vision.model_fields_set:
        return settings
    return settings.model_copy(update={"vision": settings.vision.model_copy(update={"search_s": 0.0})})
