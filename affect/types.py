"""The values that flow through the pipeline: frames in, faces and observations between, estimates out.

Frozen dataclasses over numpy; nothing here knows torch, files or sockets. Boxes are xyxy in pixels of the frame,
landmarks are five points (x, y) in pixels: the eye and the mouth corner on the left of the picture, then on its
right, in the order left eye, right eye, nose, left mouth corner, right mouth corner. Times are seconds on the
clock of whoever took the frame.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affect.labels import EMOTIONS, STATES, Evidence, Presence

FloatArray = NDArray[np.float32]
ByteArray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class CropGeometry:
    """Where the five landmarks of a face lie in the square crop a backend was trained on.

    Attributes:
        landmarks: Five (x, y) points in units of the crop's side, 0-1 from its upper left corner.
        source: How the numbers were got.
    """

    landmarks: tuple[tuple[float, float], ...]
    source: str

    def points(self) -> FloatArray:
        """Return the landmarks as [5, 2] float32."""
        return np.asarray(self.landmarks, dtype=np.float32)


class Calibration(NamedTuple):
    """What turns outputs of a network into calibrated probabilities; see `affect.inference.calibration`.

    Attributes:
        temperature: Logits are divided by it before the softmax.
        power: Exponent of the surprisal of the outputs, which gives the logits; 1 is temperature scaling alone.
    """

    temperature: float = 1.0
    power: float = 1.0

    def numbers(self) -> list[float]:
        """Return both; the temperature alone where the power is 1, as fingerprints had it before there were powers."""
        return [float(self.temperature)] if self.power == 1 else [float(self.temperature), float(self.power)]

    def __str__(self) -> str:
        """In words."""
        return f"temperature {self.temperature:g}" + (f", power {self.power:g}" if self.power != 1 else "")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one session.

    Attributes:
        t: Capture time in seconds.
        seq: Number within the session, growing.
        image: Encoded JPEG, PNG or WebP bytes, or a decoded uint8 array: RGB [H, W, 3] or grey [H, W].
    """

    t: float
    seq: int
    image: bytes | ByteArray


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Rotation of the head in degrees; zero looks into the camera.

    Yaw grows to the right of the picture, pitch grows downwards, roll grows clockwise in the picture.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True)
class Detection:
    """A face as a detector sees it: box xyxy [4], landmarks [5, 2] or None, score 0-1."""

    box: FloatArray
    landmarks: FloatArray | None
    score: float


@dataclass(frozen=True, slots=True)
class Face:
    """A tracked face of one frame.

    Attributes:
        track_id: Stable within the session.
        box: xyxy pixels [4].
        landmarks: [5, 2] pixels, or None where the detector gives none.
        score: The detector's certainty that this is a face, 0-1.
        pose: Head pose, or None without landmarks.
        quality: 0-1; how far the crop can be trusted (size and sharpness of the source).
        probabilities: Calibrated [7] in the order of `EMOTIONS`, or None when not classified.
        embedding: What the backend's last layer was given [D]; only when the estimator reads it. It identifies
            people, so it stays in the process: no message, file or log has it.
        eye_opening: Height of the eyes in distances between them; only when the estimator reads it, and only with
            landmarks. See `affect.vision.eyes`.
    """

    track_id: int
    box: FloatArray
    landmarks: FloatArray | None
    score: float
    pose: HeadPose | None
    quality: float
    probabilities: FloatArray | None = None
    embedding: FloatArray | None = field(default=None, repr=False)
    eye_opening: float | None = None

    def emotions(self) -> dict[str, float] | None:
        """Return {emotion: probability}, or None when the face was not classified."""
        if self.probabilities is None:
            return None
        return {name.value: float(p) for name, p in zip(EMOTIONS, self.probabilities, strict=True)}


@dataclass(frozen=True, slots=True)
class FrameFaces:
    """What vision and inference found in one frame.

    Attributes:
        t, seq: Those of the frame.
        width, height: Pixels of the frame as it was sent.
        faces: All faces, the followed one included.
        followed: `track_id` of the learner, or None when out of view.
        warnings: Codes and messages of what went wrong without costing the frame.
    """

    t: float
    seq: int
    width: int
    height: int
    faces: tuple[Face, ...]
    followed: int | None
    warnings: tuple[tuple[str, str], ...] = ()

    @property
    def learner(self) -> Face | None:
        """The followed face, or None."""
        return next((f for f in self.faces if f.track_id == self.followed), None)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The learner model's belief after one observation.

    Attributes:
        t: Seconds.
        states: [7] probabilities in the order of `STATES`.
        valence, arousal: -1..1, smoothed, relative to the person's baseline; None before the first face.
        presence: Whether a face is in view.
        evidence: What this step rested on.
    """

    t: float
    states: FloatArray
    valence: float | None
    arousal: float | None
    presence: Presence
    evidence: Evidence

    def state_map(self) -> dict[str, float]:
        """Return {state: probability}."""
        return {name.value: float(p) for name, p in zip(STATES, self.states, strict=True)}


@dataclass(frozen=True, slots=True)
class LearnerEvent:
    """One onset, update or offset of a learner state, or a change of presence.

    Attributes:
        kind: A learner state's name, or `presence`.
        phase: onset, update or offset; for presence `present` or `absent`.
        confidence: Probability of the state when the event was made, 0-1.
        t: When the event was made.
        t_start: Since when the state has held (start of the dwell time).
        t_end: When it ended; only in an offset.
        reason: Why it ended; only in an offset.
        states: The full distribution {state: probability}.
        valence, arousal: As in `Estimate`.
        evidence: What the estimate rested on.
    """

    kind: str
    phase: str
    confidence: float
    t: float
    t_start: float
    t_end: float | None
    reason: str | None
    states: Mapping[str, float]
    valence: float | None
    arousal: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything about one frame: the faces, the learner's estimate, and the events it caused."""

    frame: FrameFaces
    estimate: Estimate
    events: tuple[LearnerEvent, ...] = field(default=())
