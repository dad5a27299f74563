"""What the learner model gets to see at one moment."""

from dataclasses import dataclass, field

from affect.settings.learner import LearnerSettings
from affect.types import Face, FloatArray, HeadPose


@dataclass(frozen=True, slots=True)
class FaceEvidence:
    """One usable face: calibrated emotion probabilities [7], head pose, quality 0-1; see `Face` for the others."""

    probabilities: FloatArray
    pose: HeadPose | None
    quality: float
    embedding: FloatArray | None = field(default=None, repr=False)
    eye_opening: float | None = None


def face_evidence(face: Face | None, settings: LearnerSettings) -> FaceEvidence | None:
    """Return the evidence of a face, or None when there is no face, it is turned away or too poor to read."""
    if face is None or face.probabilities is None or face.quality < settings.min_quality:
        return None
    if face.pose is not None and abs(face.pose.yaw) > settings.max_yaw:
        return None
    return FaceEvidence(face.probabilities, face.pose, face.quality, face.embedding, face.eye_opening)
