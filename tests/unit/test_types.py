import dataclasses

import numpy as np
import pytest

from affect.labels import Evidence, Presence
from affect.types import CropGeometry, Estimate, Face, FloatArray, FrameFaces

BOX: FloatArray = np.array([0, 0, 10, 10], np.float32)


def face(track_id: int, probabilities: FloatArray | None = None) -> Face:
    return Face(track_id, BOX, None, 1.0, None, 1.0, probabilities)


def test_emotions_are_named_in_the_order_of_the_labels() -> None:
    row = np.array([0.5, 0.0, 0.0, 0.25, 0.0, 0.0, 0.25], np.float32)
    assert face(1, row).emotions() == {
        "angry": 0.5,
        "disgust": 0.0,
        "fear": 0.0,
        "happy": 0.25,
        "sad": 0.0,
        "surprise": 0.0,
        "neutral": 0.25,
    }


def test_a_face_that_was_not_classified_has_no_emotions() -> None:
    assert face(1).emotions() is None


def test_six_probabilities_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        face(1, np.zeros(6, np.float32)).emotions()


@pytest.mark.parametrize(("followed", "expected"), [(2, 2), (3, None), (None, None)])
def test_the_learner_is_the_followed_face(followed: int | None, expected: int | None) -> None:
    frame = FrameFaces(0.0, 0, 10, 10, (face(1), face(2)), followed)
    assert (frame.learner.track_id if frame.learner else None) == expected


def test_state_map_names_the_states() -> None:
    states = np.array([0.0, 0.0, 0.75, 0.0, 0.25, 0.0, 0.0], np.float32)
    named = Estimate(0.0, states, None, None, Presence.PRESENT, Evidence.FACE).state_map()
    assert {name: p for name, p in named.items() if p} == {"confusion": 0.75, "boredom": 0.25}
    assert len(named) == 7


def test_crop_geometry_gives_float32_points() -> None:
    points = CropGeometry(((0.25, 0.5),) * 5, "by hand").points()
    assert points.shape == (5, 2)
    assert points.dtype == np.float32
    assert points[3].tolist() == [0.25, 0.5]


def test_values_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        face(1).track_id = 2  # type: ignore[misc]
