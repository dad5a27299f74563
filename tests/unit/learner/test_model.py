from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from affect.errors import ProtocolError
from affect.labels import EMOTIONS, STATES, Emotion, Evidence, LearnerState, OffsetReason, Presence
from affect.learner.estimator import HmmEstimator
from affect.learner.model import LearnerModel
from affect.settings import LearnerSettings
from affect.settings.learner import EventSettings, HmmSettings
from affect.types import Face, FloatArray, FrameFaces, HeadPose, LearnerEvent

BOX: FloatArray = np.array([0, 0, 90, 90], np.float32)
# The numbers of the design; the defaults are tuned by simulation and may change.
EVENTS = EventSettings.model_validate(
    {
        "enter": 0.55,
        "margin": 0.15,
        "leave": 0.40,
        "leave_s": 2.0,
        "timing": {
            "surprise": {"dwell_s": 0.8, "cooldown_s": 10},
            "delight": {"dwell_s": 1.5, "cooldown_s": 10},
            "confusion": {"dwell_s": 4, "cooldown_s": 20},
            "frustration": {"dwell_s": 5, "cooldown_s": 30},
            "boredom": {"dwell_s": 15, "cooldown_s": 60},
            "engagement": {"dwell_s": 15, "cooldown_s": 60},
        },
        "update_s": 5.0,
        "update_change": 0.1,
        "actionable": ["confusion", "frustration", "boredom"],
        "budget_per_minute": 2,
    }
)
SETTINGS = LearnerSettings(max_yaw=30.0, min_quality=0.3, absent_s=5.0, hold_s=3.0, events=EVENTS)
HMM = HmmSettings(tau_c_s=4.0, baseline_s=60.0, baseline_weight=0.5, baseline_prior_s=20.0)
PI = np.array([0.29, 0.24, 0.17, 0.09, 0.14, 0.04, 0.03])


def model(hmm: HmmSettings | None = None) -> LearnerModel:
    return LearnerModel(SETTINGS, HmmEstimator(hmm or HMM))


def frame(
    t: float,
    emotion: Emotion | None = Emotion.NEUTRAL,
    *,
    yaw: float = 0.0,
    quality: float = 1.0,
    share: float = 0.94,
) -> FrameFaces:
    """A frame with the learner showing an emotion, or with nobody."""
    if emotion is None:
        return FrameFaces(t, 0, 640, 480, (), None)
    row = np.full(7, (1 - share) / 6, np.float32)
    row[EMOTIONS.index(emotion)] = share
    face = Face(1, BOX, None, 1.0, HeadPose(yaw, 0.0, 0.0), quality, row)
    return FrameFaces(t, 0, 640, 480, (face,), 1)


def run(of: LearnerModel, frames: Iterable[FrameFaces]) -> list[LearnerEvent]:
    return [event for f in frames for event in of.observe(f).events]


def times(start: float, end: float, fps: float = 5) -> list[float]:
    return [start + k / fps for k in range(round((end - start) * fps))]


def named(events: Iterable[LearnerEvent]) -> list[tuple[str, str]]:
    return [(e.kind, e.phase) for e in events if e.phase != "update"]


# Presence


def test_the_first_face_is_presence() -> None:
    observation = model().observe(frame(2.0))
    (event,) = observation.events
    assert (event.kind, event.phase, event.t, event.t_start, event.confidence) == (
        "presence",
        "present",
        2.0,
        2.0,
        1.0,
    )
    assert observation.estimate.presence is Presence.PRESENT


def test_without_a_face_presence_is_unknown_for_five_seconds_and_then_absent() -> None:
    made = model()
    assert made.observe(frame(100.0, None)).estimate.presence is Presence.UNKNOWN
    assert made.observe(frame(104.9, None)).events == ()
    (event,) = made.observe(frame(105.0, None)).events
    assert (event.kind, event.phase, event.t) == ("presence", "absent", 105.0)
    assert made.observe(frame(106.0, None)).events == ()


def test_a_face_gone_for_five_seconds_is_absent_since_it_was_last_seen() -> None:
    made = model()
    made.observe(frame(0.0))
    made.observe(frame(1.0))
    assert made.observe(frame(5.9, None)).estimate.presence is Presence.PRESENT
    observation = made.observe(frame(6.0, None))
    (event,) = observation.events
    assert (event.phase, event.t, event.t_start) == ("absent", 6.0, 1.0)
    (back,) = made.observe(frame(8.0)).events
    assert (back.kind, back.phase, back.t_start) == ("presence", "present", 8.0)


def test_a_dead_camera_ends_presence_too() -> None:
    made = model()
    made.observe(frame(0.0))
    assert made.tick(4.0)[1] == []
    estimate, events = made.tick(5.0)
    assert named(events) == [("presence", "absent")]
    assert (estimate.presence, estimate.evidence) == (Presence.ABSENT, Evidence.NONE)


def test_a_face_turned_away_is_present() -> None:
    made = model()
    for t in times(0, 20):
        observation = made.observe(frame(t, yaw=45.0))
    assert observation.estimate.presence is Presence.PRESENT


# Evidence


def test_a_face_is_evidence() -> None:
    observation = model().observe(frame(0.0, Emotion.HAPPY))
    assert observation.estimate.evidence is Evidence.FACE
    assert observation.estimate.states[STATES.index(LearnerState.DELIGHT)] > 0.04
    assert observation.estimate.valence == pytest.approx(0.94 * 0.9 + 0.01 * (-0.8 - 0.65 - 0.7 - 0.65 + 0.3), abs=1e-5)
    assert observation.frame.t == observation.estimate.t == 0.0


@pytest.mark.parametrize(
    "poor", [frame(0.0, Emotion.HAPPY, yaw=31.0), frame(0.0, Emotion.HAPPY, quality=0.2), frame(0.0, None)]
)
def test_what_cannot_be_read_is_no_evidence(poor: FrameFaces) -> None:
    estimate = model().observe(poor).estimate
    assert estimate.evidence is Evidence.NONE
    np.testing.assert_allclose(estimate.states, PI, rtol=1e-5)
    assert estimate.valence is None
    assert estimate.arousal is None


def test_only_the_followed_face_counts() -> None:
    stranger = frame(0.0, Emotion.HAPPY).faces[0]
    estimate = model().observe(FrameFaces(0.0, 0, 640, 480, (stranger,), None)).estimate
    assert estimate.evidence is Evidence.NONE


def test_valence_is_kept_while_the_face_is_turned_away() -> None:
    made = model()
    before = made.observe(frame(0.0, Emotion.HAPPY)).estimate.valence
    assert made.observe(frame(1.0, Emotion.SAD, yaw=50.0)).estimate.valence == before


def test_valence_of_a_resting_sad_face_approaches_zero() -> None:
    full = HmmSettings(baseline_weight=1.0, baseline_prior_s=0.0)
    made = model(full)
    for t in times(0, 70):
        estimate = made.observe(frame(t, Emotion.SAD, share=0.7)).estimate
    assert estimate.valence == pytest.approx(0, abs=0.02)


# States


def test_a_smile_becomes_delight_and_ends_when_it_is_gone() -> None:
    made = model()
    events = run(made, (frame(t, Emotion.HAPPY) for t in times(0, 20)))
    events += run(made, (frame(t, Emotion.NEUTRAL) for t in times(20, 50)))
    found = named(events)
    assert found[:3] == [("presence", "present"), ("delight", "onset"), ("delight", "offset")]
    offset = next(e for e in events if e.phase == "offset")
    assert offset.reason == "decay"
    assert offset.t_end is not None
    assert 20 <= offset.t_end <= offset.t


def test_when_the_face_is_lost_what_is_open_ends_and_nothing_begins() -> None:
    made = model()
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 10)))
    assert list(made.policy.open_states) == [LearnerState.DELIGHT]
    events = run(made, (frame(t, None) for t in times(10, 16)))
    ends = [e for e in events if e.phase == "offset"]
    assert len(ends) == 1  # by decay of the belief or with the face, but once
    assert made.policy.open_states == {}
    assert run(made, (frame(t, None) for t in times(16, 200))) == []


def test_an_open_state_that_does_not_decay_ends_with_the_face_before_absence_is_told() -> None:
    slow = HmmSettings.model_validate({"half_lives_s": dict.fromkeys(STATES, 10_000)})
    made = model(slow)
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 30)))
    assert list(made.policy.open_states) == [LearnerState.DELIGHT]
    last, events = made.tick(40.0)
    assert named(events) == [("delight", "offset"), ("presence", "absent")]
    assert events[0].reason == "face_lost"
    assert last.presence is Presence.ABSENT


def test_a_hand_before_the_face_is_no_event() -> None:
    made = model()
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 20)))
    events = run(made, (frame(t, None) for t in times(20, 22.8)))
    events += run(made, (frame(t, Emotion.HAPPY) for t in times(22.8, 30)))
    assert [e.phase for e in events if e.kind == "delight" and e.phase != "update"] == []
    assert list(made.policy.open_states) == [LearnerState.DELIGHT]


def test_nothing_begins_behind_a_hand() -> None:
    smile = [frame(t, Emotion.HAPPY) for t in times(0, 20)]
    onset = next(e for e in run(model(), smile) if e.phase == "onset")
    made = model()
    run(made, (f for f in smile if f.t < onset.t - 0.3))
    hidden = run(made, (frame(t, None) for t in times(onset.t - 0.2, onset.t + 2)))
    assert named(hidden) == []
    assert named(run(made, [frame(onset.t + 2, Emotion.HAPPY)])) == [("delight", "onset")]


def test_without_evidence_for_longer_an_open_state_ends_though_somebody_is_there() -> None:
    made = model()
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 20)))
    events = run(made, (frame(t, Emotion.HAPPY, yaw=60.0) for t in times(20, 40)))
    (offset,) = [e for e in events if e.phase == "offset"]
    assert (offset.kind, offset.reason, offset.evidence) == ("delight", "decay", "none")
    assert offset.t >= 19.8 + 3.0
    assert named(events) == [("delight", "offset")]


# The host


def test_the_hosts_evidence_moves_the_belief() -> None:
    made = model()
    made.observe(frame(0.0))
    estimate, _ = made.host(1.0, "off_task")
    assert estimate.evidence is Evidence.HOST
    assert estimate.t == 1.0
    before = model().observe(frame(0.0)).estimate
    boredom = STATES.index(LearnerState.BOREDOM)
    assert estimate.states[boredom] > 1.5 * before.states[boredom]


def test_unknown_evidence_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no evidence kind"):
        model().host(0.0, "yawn")


def test_a_correction_is_recorded_first_and_moves_the_belief() -> None:
    made = model()
    made.observe(frame(0.0))
    estimate, events = made.correct(1.0, LearnerState.FRUSTRATION)
    first = events[0]
    assert (first.kind, first.phase, first.t, first.evidence) == ("frustration", "corrected", 1.0, "host")
    assert (first.t_end, first.reason) == (None, None)
    assert estimate.states[STATES.index(LearnerState.FRUSTRATION)] > 0.25


def test_what_the_host_tells_begins_though_no_face_can_be_read() -> None:
    made = LearnerModel(LearnerSettings(), HmmEstimator(HmmSettings()))
    run(made, (frame(t, yaw=45.0) for t in times(0, 10)))
    found = named(made.host(10.0, "typed_frustration")[1])
    assert ("frustration", "onset") in found


@pytest.mark.parametrize("state", [s for s in STATES if s is not LearnerState.NEUTRAL])
def test_a_correction_opens_the_state_whatever_the_face_says(state: LearnerState) -> None:
    made = LearnerModel(LearnerSettings(), HmmEstimator(HmmSettings()))
    run(made, (frame(t, Emotion.NEUTRAL) for t in times(0, 30)))
    _, events = made.correct(30.0, state)
    assert named(events)[0] == (state.value, "corrected")
    assert state in made.policy.open_states


# What nobody knows any more


@pytest.mark.parametrize("state", [s for s in STATES if s is not LearnerState.NEUTRAL])
def test_nothing_stays_open_on_what_the_belief_drifts_to(state: LearnerState) -> None:
    made = LearnerModel(LearnerSettings(blind_s=1e6), HmmEstimator(HmmSettings()))
    run(made, (frame(t) for t in times(0, 3)))
    made.correct(3.0, state)
    assert state in made.policy.open_states
    run(made, (frame(t, yaw=45.0) for t in times(3, 600, fps=1)))
    assert made.policy.open_states == {}


def test_without_evidence_open_states_end() -> None:
    slow = HmmSettings.model_validate({"half_lives_s": dict.fromkeys(STATES, 10_000)})
    made = LearnerModel(LearnerSettings(blind_s=12.0), HmmEstimator(slow))
    run(made, (frame(t) for t in times(0, 3)))
    made.correct(3.0, LearnerState.BOREDOM)
    events = run(made, (frame(t, quality=0.1) for t in times(3, 30)))
    (offset,) = [e for e in events if e.phase == "offset"]
    assert (offset.kind, offset.reason, offset.evidence) == ("boredom", "no_evidence", "none")
    assert offset.t == pytest.approx(15.0)
    assert made.evidence_t == 3.0


def test_one_strong_picture_is_no_event() -> None:
    made = LearnerModel(LearnerSettings(), HmmEstimator(HmmSettings(tau_c_s=20.0)))
    plain = (PI @ np.array([HmmSettings().emission[s] for s in STATES])).astype(np.float32)
    events = run(made, [frame(0.0, Emotion.SURPRISE, share=0.98)])
    for t in times(0.2, 20):
        events += run(made, [replace(frame(t), faces=(replace(frame(t).faces[0], probabilities=plain),))])
    assert named(events) == [("presence", "present")]


def test_a_face_after_an_absence_that_nobody_noticed() -> None:
    """The host let no time pass; what was open belongs to whoever was there before."""
    slow = HmmSettings.model_validate({"half_lives_s": dict.fromkeys(STATES, 10_000)})
    made = model(slow)
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 30)))
    assert list(made.policy.open_states) == [LearnerState.DELIGHT]
    newcomer = replace(frame(40.0, Emotion.HAPPY).faces[0], track_id=2)
    events = made.observe(FrameFaces(40.0, 0, 640, 480, (newcomer,), 2)).events
    assert named(events) == [("delight", "offset"), ("presence", "absent"), ("presence", "present")]
    assert events[0].reason == "face_lost"


def test_pictures_far_apart_are_no_coming_and_going() -> None:
    made = model()
    events = run(made, (frame(t) for t in range(0, 200, 8)))
    assert named(events) == [("presence", "present")]


def test_a_model_forgets_but_its_clock_goes_on() -> None:
    made = model()
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 30)))
    made.end(OffsetReason.CONSENT_REVOKED)
    made.forget(HmmEstimator(HMM))
    estimate, events = made.tick(31.0)
    np.testing.assert_allclose(estimate.states, PI, rtol=1e-5)
    assert (estimate.presence, estimate.valence, events) == (Presence.UNKNOWN, None, [])
    assert made.evidence_t == float("-inf")
    assert named(made.observe(frame(20.0)).events) == [("presence", "present")]
    assert made.t == 31.0


# Time and end


def test_a_frame_older_than_the_last_counts_as_of_now() -> None:
    made = model()
    made.observe(frame(10.0, Emotion.HAPPY))
    observation = made.observe(frame(9.0, Emotion.HAPPY))
    assert observation.estimate.t == 10.0
    assert observation.frame.t == 9.0
    assert made.t == 10.0


def test_the_end_closes_with_its_reason() -> None:
    made = model()
    run(made, (frame(t, Emotion.HAPPY) for t in times(0, 10)))
    (offset,) = made.end(OffsetReason.CONSENT_REVOKED)
    assert (offset.kind, offset.reason) == ("delight", "consent_revoked")
    assert offset.t == pytest.approx(9.8)
    assert made.end(OffsetReason.SESSION_END, 11.0) == []


def test_the_end_of_nothing_is_nothing() -> None:
    made = model()
    assert made.t == float("-inf")
    assert made.end(OffsetReason.SESSION_END) == []


def test_absence_ends_only_once_and_onsets_and_offsets_pair() -> None:
    rng = np.random.default_rng(7)
    made = model()
    events: list[LearnerEvent] = []
    shown: Emotion | None = None
    for t in times(0, 600, fps=4):
        if rng.random() < 0.05:
            shown = [None, *EMOTIONS][int(rng.integers(0, 8))]
        events += made.observe(frame(t, shown)).events
    events += made.end(OffsetReason.SESSION_END)
    for state in STATES:
        phases = [e.phase for e in events if e.kind == state.value and e.phase in ("onset", "offset")]
        assert phases == ["onset", "offset"] * (len(phases) // 2)
    presence = [e.phase for e in events if e.kind == "presence"]
    assert all(a != b for a, b in pairwise(presence))
    assert len([e for e in events if e.phase == "onset"]) >= 5


def test_what_is_returned_has_no_embeddings() -> None:
    """The estimator has read them; nobody keeps them."""
    face = Face(
        1,
        np.array([10, 10, 90, 90], np.float32),
        None,
        1.0,
        None,
        1.0,
        np.full(7, 1 / 7, np.float32),
        np.ones(4, np.float32),
    )
    observation = LearnerModel(LearnerSettings(), HmmEstimator(HmmSettings())).observe(
        FrameFaces(0.0, 0, 100, 100, (face,), 1)
    )
    assert observation.frame.learner is not None
    assert observation.frame.learner.embedding is None
    assert observation.frame.learner.probabilities is face.probabilities
