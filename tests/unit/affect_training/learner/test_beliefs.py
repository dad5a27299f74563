import numpy as np
import pytest
from affect_training.learner.auc import JUDGED, Floats
from affect_training.learner.beliefs import Believed, Sessions, beliefs, onsets_right

from affect.labels import STATES, LearnerState
from affect.learner.dynamics import stationary
from affect.learner.estimator import HmmEstimator
from affect.learner.evidence import FaceEvidence, face_evidence
from affect.settings.learner import HmmSettings, LearnerSettings
from affect.types import Face, FrameFaces

SETTINGS = HmmSettings(baseline_weight=0.0)
DELIGHT = STATES.index(LearnerState.DELIGHT)


def frame(emotion: int, t: float = 0.0) -> FrameFaces:
    row = np.full(7, 0.02, np.float32)
    row[emotion] = 0.88
    face = Face(1, np.array([0, 0, 50, 50], np.float32), None, 1.0, None, 1.0, row)
    return FrameFaces(t, 0, 100, 100, (face,), 1)


def run(seen: list[list[FrameFaces]], people: list[str], sessions: Sessions = "item") -> Floats:
    return beliefs(seen, people, LearnerSettings(), lambda: HmmEstimator(SETTINGS), sessions=sessions).mean


def evidence(emotion: int) -> FaceEvidence:
    found = face_evidence(frame(emotion).learner, LearnerSettings())
    assert found is not None
    return found


def test_each_item_is_a_session_of_its_own() -> None:
    one = run([[frame(3)], [frame(6)], [frame(3)]], ["a", "a", "a"])
    np.testing.assert_array_equal(one[0], one[2])
    np.testing.assert_allclose(one[0], HmmEstimator(SETTINGS).observe(0.0, evidence(3)))


def test_a_persons_items_follow_each_other_and_the_next_person_starts_anew() -> None:
    seen = [[frame(3)], [frame(6)], [frame(6)]]
    row = run(seen, ["a", "a", "b"], "person")
    other = run(seen, ["a", "b", "b"], "person")
    assert row[1][DELIGHT] > other[1][DELIGHT]  # a moment ago there was a smile
    np.testing.assert_allclose(row[2], other[1])


def test_in_a_row_a_face_stands_for_its_clip() -> None:
    (found,) = run([[frame(3)]], ["a"], "person")
    estimator = HmmEstimator(SETTINGS)
    steps = [estimator.observe(float(t), evidence(3)) for t in range(10)]
    np.testing.assert_allclose(found, np.mean(steps, axis=0), rtol=1e-6)


def test_onsets_are_counted_and_compared_with_labels() -> None:
    seen = [[frame(3)], [frame(3)], [frame(6)], [frame(6)]]
    found = beliefs(seen, ["a"] * 4, LearnerSettings(), lambda: HmmEstimator(SETTINGS), sessions="person")
    assert (0, "delight") in found.onsets
    assert found.hours == 40 / 3600
    told = Believed(found.mean, ((1, "boredom"), (2, "boredom"), (0, "delight")), 0.5)
    levels = {state: np.array([0, 3, 1, 2]) for state in JUDGED}
    report = onsets_right(told, levels, ["a", "a", "b", "b"])
    assert report["boredom"] == {
        "count": 2, "people": 2, "per_hour": 4.0, "labelled_there": 0.5, "labelled_there_ci95": [0.0, 1.0],
        "labelled_of_these_people": 0.5, "labelled_anywhere": 0.5,
    }  # fmt: skip
    assert report["boredom"]["labelled_of_these_people"] == 0.5  # one onset of each, who is bored in half of the items
    assert report["confusion"]["labelled_there"] is None
    assert report["engagement"]["labelled_anywhere"] == 0.25


def test_onsets_of_who_is_always_bored_tell_who_and_not_when() -> None:
    told = Believed(np.zeros((6, 7)), ((0, "boredom"), (1, "boredom"), (5, "boredom")), 1.0)
    levels = {state: np.array([3, 3, 3, 0, 0, 0]) for state in JUDGED}
    row = onsets_right(told, levels, ["a", "a", "a", "b", "b", "b"])["boredom"]
    assert row["labelled_there"] == row["labelled_of_these_people"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["labelled_anywhere"] == 0.5


def test_a_clip_is_believed_on_average() -> None:
    (found,) = run([[frame(3, 0.0), frame(6, 5.0)]], ["a"])
    estimator = HmmEstimator(SETTINGS)
    steps = [estimator.observe(0.0, evidence(3)), estimator.observe(5.0, evidence(6))]  # each for frame_s at most
    np.testing.assert_allclose(found, np.mean(steps, axis=0), rtol=1e-6)


def test_without_a_frame_the_base_rates_are_believed() -> None:
    (found,) = run([[]], ["a"])
    np.testing.assert_allclose(found, stationary(SETTINGS), rtol=1e-5)


def test_scores_are_the_columns_of_labelled_states() -> None:
    scores = Believed(np.arange(14.0).reshape(2, 7), (), 0.0).scores()
    assert scores[LearnerState.BOREDOM].tolist() == [4.0, 11.0]
    assert set(scores) == set(JUDGED)
