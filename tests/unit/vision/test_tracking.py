import numpy as np
import pytest

from affect.settings import VisionSettings
from affect.types import Detection
from affect.vision.tracking import Tracker

SETTINGS = VisionSettings(redetect_s=3.0, search_s=0.5, lost_s=1.5, switch_s=3.0)


def face(x: float, y: float = 100, side: float = 100) -> Detection:
    return Detection(np.array([x, y, x + side, y + side], np.float32), None, 1.0)


def tracker(phase: float = 0.0) -> Tracker:
    made = Tracker(SETTINGS, phase)
    made.frame_size(640, 480)
    return made


def ids(of: Tracker) -> list[int]:
    return [track.id for track in of.visible]


def x_of(of: Tracker) -> dict[int, float]:
    return {track.id: float(track.face.box[0]) for track in of.visible}


# When a full detection is due


def test_the_first_frame_is_due() -> None:
    assert tracker().due(0.0)


def test_while_tracked_a_detection_is_due_every_redetect_s() -> None:
    t = tracker()
    t.detected(10.0, [face(0)])
    assert [t.due(10 + s) for s in (0.1, 1.0, 2.9, 3.0, 3.1)] == [False, False, False, True, True]
    t.refined(13.0, [face(0)])
    t.detected(13.0, [face(0)])
    assert [t.due(s) for s in (13.1, 15.9, 16.0)] == [False, False, True]


@pytest.mark.parametrize(("phase", "second"), [(0.0, 3.0), (0.25, 2.25), (0.5, 1.5)])
def test_phase_shifts_the_regular_detections(phase: float, second: float) -> None:
    t = tracker(phase)
    t.detected(0.0, [face(0)])
    assert not t.due(second - 0.01)
    assert t.due(second)
    t.detected(second, [face(0)])
    assert not t.due(second + 2.99)  # only the first one is shifted
    assert t.due(second + 3.0)


def test_a_face_just_lost_is_looked_for_in_every_frame_and_later_now_and_then() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    assert t.refined(0.1, [None])
    t.detected(0.1, [])
    for now in (0.2, 0.8, 1.6):  # up to lost_s after the loss at 0.1
        assert t.due(now)
        t.refined(now, [])
        t.detected(now, [])
    assert [t.due(now) for now in (1.7, 2.0, 2.1, 2.2)] == [False, False, True, True]


def test_while_the_learner_is_missing_somebody_else_in_view_does_not_end_the_search() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300)])
    assert t.refined(1.0, [None, face(300)])
    t.detected(1.0, [face(300)])
    assert [t.due(now) for now in (1.1, 2.5)] == [True, True]
    t.detected(2.5, [face(300)])
    assert [t.due(now) for now in (2.6, 2.9, 3.0)] == [False, False, True]


def test_a_clock_that_was_set_back_makes_a_detection_due() -> None:
    t = tracker()
    t.detected(100.0, [face(0)])
    assert t.due(5.0)


def test_without_any_face_it_is_looked_for_every_search_s() -> None:
    t = tracker()
    t.detected(0.0, [])
    t.detected(1.5, [])
    assert [t.due(now) for now in (1.6, 1.9, 2.0)] == [False, False, True]


# Ids


def test_ids_are_numbered_from_one_and_stable_through_movement() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(400)])
    assert x_of(t) == {1: 0, 2: 400}
    for k in range(1, 20):
        t.refined(k / 10, [face(10 * k), face(400 - 5 * k)])
    assert x_of(t) == {1: 190, 2: 305}


def test_a_detection_continues_tracks_whatever_its_order() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(400)])
    t.detected(3.0, [face(410), face(10)])
    assert x_of(t) == {1: 10, 2: 410}


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (face(50), 1),  # a third in common
        (face(90), 1),  # fast: next to where it was
        (face(120), 2),  # further than its own side
        (face(60, 70, side=160), 1),
        (face(50, 60, side=180), 2),  # nearly twice as large: somebody else's
        (face(107, 117, side=65), 1),
        (face(115, 125, side=50), 2),
    ],
)
def test_a_face_is_the_same_when_it_is_near_and_of_like_size(now: Detection, expected: int) -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.detected(0.2, [now])
    assert ids(t) == [expected]


def test_the_nearest_face_continues_the_track() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.detected(0.2, [face(60), face(10)])
    assert x_of(t) == {1: 10, 2: 60}


@pytest.mark.parametrize(("gap", "expected"), [(2.9, 1), (3.1, 2)])
def test_the_learners_face_keeps_its_id_as_long_as_nobody_else_is_followed(gap: float, expected: int) -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.refined(1.0, [face(0)])
    t.refined(1.1, [None])
    t.detected(1.1, [])
    t.detected(1.0 + gap, [face(20)])
    assert ids(t) == [expected]


@pytest.mark.parametrize(("gap", "expected"), [(1.4, 1), (1.6, 2)])
def test_another_face_lost_and_found_keeps_its_id_for_lost_s(gap: float, expected: int) -> None:
    t = tracker()
    learner = face(0, side=140)
    t.detected(0.0, [learner, face(300)])
    t.refined(1.0, [learner, face(300)])
    t.refined(1.1, [learner, None])
    t.detected(1.1, [learner])
    t.refined(1.0 + gap, [learner])
    t.detected(1.0 + gap, [learner, face(320)])
    assert ids(t) == [1, {1: 2, 2: 3}[expected]]


def test_a_face_that_the_detector_misses_once_lives_on_when_refinement_saw_it() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.refined(3.0, [face(10)])
    t.detected(3.0, [])
    assert x_of(t) == {1: 10}


def test_a_face_that_a_detection_misses_is_gone_until_found() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(400)])
    t.detected(3.0, [face(400)])
    assert ids(t) == [2]
    t.detected(3.2, [face(400)])
    assert ids(t) == [2]


def test_two_tracks_on_one_face_become_the_older_one() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(300)])
    t.refined(0.1, [face(0), face(60)])
    assert ids(t) == [1, 2]
    t.refined(0.2, [face(0), face(20)])  # 80 of 120 pixels in common
    assert ids(t) == [1]


def test_ids_are_never_given_twice() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.detected(10.0, [face(300)])
    t.detected(20.0, [face(0)])
    assert ids(t) == [3]


def test_another_size_is_another_camera() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.frame_size(640, 480)
    assert ids(t) == [1]
    assert not t.due(0.1)
    t.frame_size(320, 240)
    assert t.visible == ()
    assert t.due(0.1)
    t.detected(0.1, [face(0)])
    assert ids(t) == [2]


def test_refinement_must_answer_for_every_track() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(400)])
    with pytest.raises(ValueError, match="shorter"):
        t.refined(0.1, [face(0)])


# Whom it follows


def test_the_largest_face_is_followed_first() -> None:
    t = tracker()
    assert t.followed is None
    t.detected(0.0, [face(0, side=80), face(300, side=120)])
    assert t.followed == 2


def test_the_learner_is_kept_when_another_face_becomes_larger() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300, side=80)])
    for k in range(1, 50):
        assert not t.refined(k / 10, [face(0, side=120), face(300, side=80 + 2 * k)])
        assert t.followed == 1


def test_refinement_says_when_the_learner_is_lost() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300)])
    assert not t.refined(0.1, [face(0, side=120), None])
    assert t.refined(0.2, [None])
    assert not t.refined(0.3, [])  # that was told; `due` takes over


def test_another_face_is_followed_when_the_learner_is_gone_for_switch_s() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300), face(450, side=90)])
    t.refined(1.0, [face(0, side=120), face(300), face(450, side=90)])
    t.refined(1.1, [None, face(300), face(450, side=90)])
    for now in (1.2, 2.5, 3.9):
        t.refined(now, [face(300), face(450, side=90)])
        assert t.followed == 1
    t.refined(4.0, [face(300), face(450, side=90)])
    assert t.followed == 2  # the largest of those that are left


def test_the_learner_who_comes_back_in_time_stays_the_learner() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300)])
    t.refined(1.0, [None, face(300)])
    t.detected(1.0, [face(300)])
    t.detected(1.4, [face(300), face(10, side=120)])
    assert t.followed == 1
    t.refined(3.9, [face(10, side=120), None])
    assert t.followed == 1


# What a detection need not look for


def test_while_the_learner_is_tracked_only_newcomers_of_some_size_matter() -> None:
    t = tracker()
    t.detected(0.0, [face(0, side=120), face(300, side=80)])
    assert t.hint.smallest == 60
    assert [box.tolist() for box in t.hint.known] == [[0, 100, 120, 220], [300, 100, 380, 180]]


def test_while_the_learner_is_missing_every_size_matters() -> None:
    t = tracker()
    assert (t.hint.smallest, t.hint.known) == (0.0, ())
    t.detected(0.0, [face(0, side=120), face(300, side=80)])
    t.refined(0.1, [None, face(310, side=80)])
    assert t.hint.smallest == 0.0
    assert [box.tolist() for box in t.hint.known] == [[310, 100, 390, 180]]


@pytest.mark.parametrize("beside", [100.0, 110.0, 130.0])
def test_a_newcomer_beside_the_learner_is_not_the_learner(beside: float) -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    for second in (3.0, 6.0, 9.0):  # what is known already is not detected again: only the other one is
        t.refined(second, [face(x) for x in x_of(t).values()])
        t.detected(second, [face(beside)])
    assert x_of(t) == {1: 0.0, 2: beside}
    assert t.followed == 1


def test_a_face_that_moved_fast_is_found_again_nearby() -> None:
    t = tracker()
    t.detected(0.0, [face(0)])
    t.refined(0.1, [None])
    t.detected(0.1, [face(90)])
    assert x_of(t) == {1: 90.0}


def test_of_two_tracks_on_one_face_the_learners_stays() -> None:
    t = tracker()
    t.detected(0.0, [face(0), face(300, side=120)])
    assert t.followed == 2
    t.refined(0.1, [face(180), face(300, side=120)])
    t.refined(0.2, [face(301, side=118), face(300, side=120)])
    assert ids(t) == [2]
    assert t.followed == 2
