from collections.abc import Callable

import numpy as np
import pytest

from affect.errors import AffectError, PluginError, ProtocolError
from affect.labels import LearnerState, OffsetReason, Presence
from affect.plugins import PluginHost
from affect.session import new_session
from affect.settings import Settings
from affect.types import Detection, Face, FrameFaces
from affect.vision.tracking import Tracker

# Numbers that do not change when the defaults are tuned.
SETTINGS = Settings.model_validate(
    {
        "learner": {
            "events": {
                "enter": 0.55,
                "margin": 0.15,
                "leave": 0.4,
                "timing": {"delight": {"dwell_s": 1.5, "cooldown_s": 10}},
            }
        },
        "plugins": {"hmm": {"tau_c_s": 4.0, "baseline_weight": 0.0}},
    }
)
MakeHost = Callable[..., PluginHost]
BOX = np.array([10, 10, 90, 90], np.float32)
HAPPY = np.array([0.01, 0.01, 0.01, 0.9, 0.01, 0.03, 0.03], np.float32)


def frame(t: float, seq: int = 0, *, face: bool = True) -> FrameFaces:
    faces = (Face(1, BOX, None, 1.0, None, 1.0, HAPPY),) if face else ()
    return FrameFaces(t, seq, 100, 100, faces, 1 if face else None)


def test_events_of_a_session_are_numbered_from_one(make_host: MakeHost) -> None:
    session = new_session("anna", SETTINGS, make_host())
    events = []
    for k in range(300):
        events += session.observe(frame(k / 10, k))[1]
    assert [e.data.seq for e in events] == list(range(1, len(events) + 1))
    assert [(e.data.state, e.data.phase) for e in events[:2]] == [
        ("presence", "present"),
        ("delight", "onset"),
    ]
    assert {e.subject for e in events} == {"anna"}


def test_the_last_estimate_is_kept(make_host: MakeHost) -> None:
    session = new_session("anna", SETTINGS, make_host())
    kept = [session.estimate]
    observation, _ = session.observe(frame(1.0))
    kept.append(session.estimate)
    session.tick(7.0)
    kept.append(session.estimate)
    assert kept[0] is None
    assert kept[1] is observation.estimate
    assert kept[2] is not None
    assert (kept[2].t, kept[2].presence) == (7.0, Presence.ABSENT)


def test_the_host_may_give_evidence_of_known_kinds_only(make_host: MakeHost) -> None:
    session = new_session("anna", SETTINGS, make_host())
    session.observe(frame(0.0))
    session.host(1.0, "off_task")
    with pytest.raises(ProtocolError, match="no evidence kind 'yawn'"):
        session.host(1.0, "yawn")


def test_a_correction_is_an_event(make_host: MakeHost) -> None:
    session = new_session("anna", SETTINGS, make_host())
    session.observe(frame(0.0))
    event, onset = session.correct(1.0, LearnerState.BOREDOM)
    assert (event.data.state, event.data.phase, event.data.t) == ("boredom", "corrected", 1.0)
    assert (onset.data.state, onset.data.phase, onset.data.t) == ("boredom", "onset", 1.0)


def test_the_end_closes_what_is_open(make_host: MakeHost) -> None:
    session = new_session("anna", SETTINGS, make_host())
    for k in range(100):
        session.observe(frame(k / 10, k))
    (event,) = session.end(OffsetReason.SESSION_END, 12.0)
    assert (event.data.state, event.data.phase, event.data.reason) == ("delight", "offset", "session_end")
    assert event.data.t_end == 12.0
    assert session.end(OffsetReason.SESSION_END) == []


def test_sessions_look_for_faces_at_different_times(make_host: MakeHost) -> None:
    host = make_host()

    def first_due(tracker: Tracker) -> float:
        tracker.detected(0.0, [Detection(BOX, None, 1.0)])
        return next(t / 100 for t in range(400) if tracker.due(t / 100))

    times = [first_due(new_session(name, SETTINGS, host).tracker) for name in ("anna", "ben", "carla", "dan")]
    assert len({round(t, 1) for t in times}) > 1
    assert all(0 <= t <= 3 for t in times)
    again = first_due(new_session("anna", SETTINGS, host).tracker)
    assert again == times[0]  # by name, not by chance


@pytest.mark.parametrize(("switch_s", "absent_s"), [(2.0, 7.0), (7.0, 2.0)])
def test_another_face_is_followed_only_after_both_times(make_host: MakeHost, switch_s: float, absent_s: float) -> None:
    settings = Settings.model_validate({"vision": {"switch_s": switch_s}, "learner": {"absent_s": absent_s}})
    tracker = new_session("anna", settings, make_host()).tracker
    tracker.detected(0.0, [Detection(BOX, None, 1.0)])
    followed = []
    for t in range(1, 9):
        tracker.detected(float(t), [Detection(BOX + 300, None, 1.0)])  # somebody else
        followed.append(tracker.followed)
    assert followed == [1] * 6 + [2] * 2


def test_an_unknown_estimator_is_an_error(make_host: MakeHost) -> None:
    settings = Settings.model_validate({"learner": {"estimator": "hhm"}})
    with pytest.raises(PluginError, match=r"no estimator 'hhm'; did you mean 'hmm'\?"):
        new_session("anna", settings, make_host())


@pytest.mark.parametrize("ask", ["host", "correct", "tick"])
def test_an_estimator_that_fails_is_an_error_of_ours(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    session = new_session("anna", SETTINGS, make_host())
    arguments = {"host": (1.0, "hint_request"), "correct": (1.0, LearnerState.BOREDOM), "tick": (1.0,)}[ask]
    monkeypatch.setattr(session.model.estimator, "advance" if ask == "tick" else ask, lambda *_: 1 / 0)
    with pytest.raises(AffectError, match="learner model: ZeroDivisionError"):
        getattr(session, ask)(*arguments)


def test_a_session_may_have_any_name_and_a_phase_of_its_own(make_host: MakeHost) -> None:
    assert new_session("Zo\udceb", SETTINGS, make_host()).tracker.phase > 0  # as Python reads a name that is no UTF-8
    assert new_session("anna", SETTINGS, make_host(), phase=0.0).tracker.phase == 0
