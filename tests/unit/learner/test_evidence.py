import numpy as np
import pytest

from affect.learner.evidence import face_evidence
from affect.settings import LearnerSettings
from affect.types import Face, FloatArray, HeadPose

ROW: FloatArray = np.full(7, 1 / 7, np.float32)
BOX: FloatArray = np.array([0, 0, 9, 9], np.float32)
SETTINGS = LearnerSettings()


def face(
    yaw: float | None = 0.0, quality: float = 1.0, probabilities: FloatArray | None = ROW, pitch: float = 0.0
) -> Face:
    pose = None if yaw is None else HeadPose(yaw, pitch, 0.0)
    return Face(1, BOX, None, 1.0, pose, quality, probabilities)


@pytest.mark.parametrize(
    ("seen", "usable"),
    [
        (face(), True),
        (face(yaw=None), True),
        (face(yaw=30.0), True),
        (face(yaw=-30.0), True),
        (face(yaw=30.1), False),
        (face(yaw=-30.1), False),
        (face(pitch=50.0), True),  # looking down at a keyboard
        (face(quality=0.3), True),
        (face(quality=0.29), False),
        (face(probabilities=None), False),
        (None, False),
    ],
)
def test_only_readable_faces_are_evidence(seen: Face | None, usable: bool) -> None:
    assert (face_evidence(seen, SETTINGS) is not None) == usable


def test_evidence_is_what_the_face_shows() -> None:
    evidence = face_evidence(face(yaw=12.0, quality=0.8), SETTINGS)
    assert evidence is not None
    assert evidence.probabilities is ROW
    assert evidence.pose == HeadPose(12.0, 0.0, 0.0)
    assert evidence.quality == 0.8


def test_limits_are_settings() -> None:
    settings = LearnerSettings(max_yaw=10.0, min_quality=0.9)
    assert face_evidence(face(yaw=11.0), settings) is None
    assert face_evidence(face(quality=0.89), settings) is None
