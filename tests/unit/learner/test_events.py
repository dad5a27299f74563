from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.labels import STATES, Evidence, LearnerState, OffsetReason, Presence
from affect.learner.events import EventPolicy
from affect.settings.learner import EventSettings
from affect.types import Estimate, LearnerEvent

N, E, C, F, B, D, S = STATES
# The numbers of the design; the defaults are tuned by simulation and may change.
SETTINGS = EventSettings.model_validate(
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
Told = tuple[str, str, float]


def belief(t: float, **shares: float) -> Estimate:
    """An estimate; what the named states leave is shared evenly by the others."""
    rest = (1 - sum(shares.values())) / (7 - len(shares))
    states = np.array([shares.get(s.value, rest) for s in STATES], np.float32)
    return Estimate(t, states, 0.1, -0.2, Presence.PRESENT, Evidence.FACE)


def told(events: list[LearnerEvent]) -> list[Told]:
    return [(e.kind, e.phase, e.t) for e in events]


def hold(policy: EventPolicy, start: float, end: float, step: float = 0.5, **shares: float) -> list[LearnerEvent]:
    """Hold one belief from `start` up to and including `end`."""
    events = []
    for k in range(round((end - start) / step) + 1):
        events += policy.step(belief(start + k * step, **shares))
    return events


def policy(**changes: Any) -> EventPolicy:
    return EventPolicy(EventSettings.model_validate(SETTINGS.model_dump() | changes))


# Onset


@pytest.mark.parametrize(
    ("state", "dwell"),
    [
        ("surprise", 0.8),
        ("delight", 1.5),
        ("confusion", 4),
        ("frustration", 5),
        ("boredom", 15),
        ("engagement", 15),
    ],
)
def test_an_onset_comes_after_the_states_dwell_time(state: str, dwell: float) -> None:
    events = EventPolicy(SETTINGS)
    assert events.step(belief(0.0, **{state: 0.8})) == []
    assert events.step(belief(dwell - 0.01, **{state: 0.8})) == []
    (onset,) = events.step(belief(dwell, **{state: 0.8}))
    assert (onset.kind, onset.phase, onset.t, onset.t_start) == (state, "onset", dwell, 0.0)
    assert onset.confidence == pytest.approx(0.8)
    assert (onset.t_end, onset.reason) == (None, None)
    assert (onset.valence, onset.arousal, onset.evidence) == (0.1, -0.2, "face")
    assert onset.states[state] == pytest.approx(0.8)
    assert events.open_states == {LearnerState(state): 0.0}


def test_neutral_makes_no_events() -> None:
    assert hold(EventPolicy(SETTINGS), 0, 100, neutral=0.95) == []


def test_a_moment_below_the_threshold_starts_the_dwell_anew() -> None:
    events = EventPolicy(SETTINGS)
    assert hold(events, 0, 3.5, confusion=0.6) == []
    assert events.step(belief(4.0, confusion=0.54)) == []
    assert hold(events, 4.5, 8.0, confusion=0.6) == []
    assert told(events.step(belief(8.5, confusion=0.6))) == [("confusion", "onset", 8.5)]


@pytest.mark.parametrize(("p", "count"), [(0.55, 1), (0.549, 0)])
def test_the_threshold_of_an_onset(p: float, count: int) -> None:
    assert len(hold(EventPolicy(SETTINGS), 0, 4, confusion=p, neutral=0.05)) == count


@pytest.mark.parametrize(("second", "count"), [(0.39, 1), (0.42, 0)])
def test_an_onset_needs_a_lead_over_the_next_state(second: float, count: int) -> None:
    events = EventPolicy(SETTINGS)
    assert len(hold(events, 0, 4.5, confusion=0.56, frustration=second)) == count


def test_a_margin_of_zero_lets_two_states_hold_together() -> None:
    apart = policy(enter=0.28, leave=0.15, margin=0.05)
    assert {e.kind for e in hold(apart, 0, 60, frustration=0.32, confusion=0.3)} == set()
    together = policy(enter=0.28, leave=0.15, margin=0.0)
    assert {e.kind for e in hold(together, 0, 60, frustration=0.32, confusion=0.3)} == {
        "frustration",
        "confusion",
    }


def test_an_open_state_does_not_begin_again() -> None:
    events = hold(EventPolicy(SETTINGS), 0, 60, delight=0.9)
    assert [e.phase for e in events].count("onset") == 1


# Offset


def test_an_offset_comes_when_the_state_was_low_for_leave_s() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    low = hold(events, 2.5, 4.0, delight=0.45) + hold(events, 4.5, 6.0, delight=0.3)  # above, then below leave
    assert {e.phase for e in low} == {"update"}
    (offset,) = events.step(belief(6.5, delight=0.3))
    assert (offset.kind, offset.phase, offset.reason) == ("delight", "offset", "decay")
    assert (offset.t, offset.t_start, offset.t_end) == (
        6.5,
        0.0,
        4.5,
    )  # it ended when it fell, not when we were sure
    assert events.open_states == {}


def test_a_state_that_recovers_in_time_goes_on() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    for k in range(10):  # 1.5 s low, .5 s high
        start = 2.5 + 2 * k
        assert "offset" not in [e.phase for e in hold(events, start, start + 1.5, delight=0.39)]
        assert "offset" not in [e.phase for e in hold(events, start + 2.0, start + 2.0, delight=0.41)]
    assert events.open_states == {D: 0.0}


def test_a_long_gap_ends_a_state_only_after_it_was_seen_low() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    assert "offset" not in [e.phase for e in events.step(belief(60.0, delight=0.1))]
    assert told(events.step(belief(62.0, delight=0.1)))[0] == ("delight", "offset", 62.0)


@pytest.mark.parametrize("reason", [OffsetReason.FACE_LOST, OffsetReason.CONSENT_REVOKED, OffsetReason.SESSION_END])
def test_close_ends_what_is_open_and_says_why(reason: OffsetReason) -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 5, frustration=0.8)
    (offset,) = events.close(7.0, reason)
    assert (offset.kind, offset.phase, offset.reason) == ("frustration", "offset", reason.value)
    assert (offset.t, offset.t_start, offset.t_end) == (7.0, 0.0, 7.0)
    assert events.close(8.0, reason) == []


def test_close_before_anything_is_nothing() -> None:
    assert EventPolicy(SETTINGS).close(0.0, OffsetReason.SESSION_END) == []


def test_close_starts_the_dwell_anew() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 3.5, confusion=0.8)
    events.close(3.5, OffsetReason.FACE_LOST)
    assert hold(events, 4.0, 7.5, confusion=0.8) == []
    assert told(events.step(belief(8.0, confusion=0.8))) == [("confusion", "onset", 8.0)]


def test_no_offset_lies_before_what_was_told_last() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 5, frustration=0.8)
    (offset,) = events.close(1.0, OffsetReason.SESSION_END)
    assert (offset.t, offset.t_end) == (5.0, 5.0)


def test_one_state_may_end_while_another_begins() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 5, frustration=0.8)
    found = [x for x in told(hold(events, 5.5, 20, step=0.5, delight=0.8)) if x[1] != "update"]
    assert found == [("delight", "onset", 7.0), ("frustration", "offset", 7.5)]


def test_offsets_come_before_onsets_of_the_same_moment() -> None:
    events = policy(leave_s=1.5)
    hold(events, 0, 5, frustration=0.8)
    hold(events, 5.5, 6.5, delight=0.8)
    assert told(events.step(belief(7.0, delight=0.8))) == [
        ("frustration", "offset", 7.0),
        ("delight", "onset", 7.0),
    ]


# Cool-down


def test_after_an_offset_a_state_may_not_return_for_its_cool_down() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    assert "offset" in [e.phase for e in hold(events, 2.5, 4.5, delight=0.1)]  # at 4.5; cool-down 10
    assert hold(events, 5.0, 14.0, delight=0.8) == []
    (onset,) = events.step(belief(14.5, delight=0.8))
    assert (onset.phase, onset.t_start) == ("onset", 5.0)


def test_the_cool_down_is_each_states_own() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    hold(events, 2.5, 4.5, delight=0.1)
    assert told(hold(events, 5.0, 6.0, surprise=0.8)) == [("surprise", "onset", 6.0)]


# Updates


def test_an_unchanged_state_is_updated_every_update_s() -> None:
    events = EventPolicy(SETTINGS)
    found = told(hold(events, 0, 18, delight=0.8))
    assert found == [("delight", "onset", 1.5)] + [("delight", "update", t) for t in (6.5, 11.5, 16.5)]


def test_a_change_is_told_at_once_but_at_most_once_a_second() -> None:
    events = EventPolicy(SETTINGS)
    hold(events, 0, 1.5, delight=0.9)
    assert events.step(belief(2.0, delight=0.7)) == []  # half a second after the onset
    (update,) = events.step(belief(2.5, delight=0.7))
    assert (update.phase, update.t_start, update.t_end) == ("update", 0.0, None)
    assert update.confidence == pytest.approx(0.7)
    assert events.step(belief(4.0, delight=0.75)) == []  # moved by less than .1 since it was told
    assert told(events.step(belief(4.5, delight=0.85))) == [("delight", "update", 4.5)]


# Budget


QUICK = {"timing": {s.value: {"dwell_s": 0, "cooldown_s": 0} for s in STATES if s is not N}, "leave_s": 0}


def test_only_two_actionable_onsets_a_minute() -> None:
    events = policy(**QUICK)
    assert told(events.step(belief(0.0, confusion=0.8))) == [("confusion", "onset", 0.0)]
    assert [x[:2] for x in told(events.step(belief(1.0, frustration=0.8)))] == [
        ("confusion", "offset"),
        ("frustration", "onset"),
    ]
    assert [x[:2] for x in told(events.step(belief(2.0, boredom=0.8)))] == [("frustration", "offset")]
    assert events.suppressed == 1
    assert events.step(belief(30.0, boredom=0.8)) == []
    assert events.suppressed == 1  # the same one still
    assert events.step(belief(59.9, boredom=0.8)) == []
    (late,) = events.step(belief(60.0, boredom=0.8))  # the first onset is a minute old
    assert (late.kind, late.phase, late.t_start) == ("boredom", "onset", 2.0)


def test_what_a_tutor_does_not_act_on_has_no_budget() -> None:
    events = policy(**QUICK)
    for k in range(6):
        found = events.step(belief(float(k), **{("delight", "surprise", "engagement")[k % 3]: 0.8}))
        assert [e.phase for e in found] == (["offset", "onset"] if k else ["onset"])
    assert events.suppressed == 0


def test_a_second_refusal_is_counted_again() -> None:
    events = policy(**QUICK, budget_per_minute=0)
    events.step(belief(0.0, confusion=0.8))
    events.step(belief(1.0, neutral=0.8))
    events.step(belief(2.0, confusion=0.8))
    assert events.suppressed == 2
    assert events.open_states == {}


def test_the_budget_is_for_what_is_most_certain() -> None:
    events = policy(**QUICK, budget_per_minute=1, enter=0.25, leave=0.2, margin=0)
    found = events.step(belief(0.0, confusion=0.31, frustration=0.5))
    assert [e.kind for e in found] == ["frustration"]
    assert events.suppressed == 1


# Base rates

RATES = {N: 0.29, E: 0.24, C: 0.17, F: 0.09, B: 0.14, D: 0.04, S: 0.03}


def test_what_drifted_back_to_its_base_rate_is_over() -> None:
    low = EventSettings.model_validate({"enter": 0.3, "leave": 0.15, "margin": 0, "enter_odds": 2, "leave_odds": 1.25})
    for state, rate in RATES.items():
        if state is N:
            continue
        events = EventPolicy(low, RATES)
        hold(events, 0, 3, **{state.value: 0.9})
        assert list(events.open_states) == [state]
        hold(events, 3.5, 10, **{state.value: rate})
        assert events.open_states == {}
    without = EventPolicy(low)
    hold(without, 0, 3, engagement=0.9)
    hold(without, 3.5, 100, engagement=0.24)
    assert list(without.open_states) == [E]  # nobody said what the base rates are


def test_thresholds_are_the_higher_of_probability_and_odds() -> None:
    given = EventSettings.model_validate({"enter": 0.3, "leave": 0.15, "enter_odds": 2, "leave_odds": 1.25})
    enter, leave = given.thresholds(RATES)
    assert enter[E] == pytest.approx(0.48 / 1.24)  # odds .24 / .76, twice
    assert leave[E] == pytest.approx(0.3 / 1.06)
    assert (enter[S], leave[S]) == (0.3, 0.15)
    assert N not in enter
    assert set(given.thresholds({})[0].values()) == {0.3}


# What somebody said


def said(t: float, **shares: float) -> Estimate:
    return replace(belief(t, **shares), evidence=Evidence.HOST)


def test_what_the_host_tells_begins_at_once() -> None:
    events = EventPolicy(SETTINGS)
    events.step(belief(0.0, boredom=0.2))
    assert told(events.step(said(1.0, boredom=0.8))) == [("boredom", "onset", 1.0)]


def test_what_the_host_tells_does_not_hasten_what_it_makes_no_likelier() -> None:
    events = EventPolicy(SETTINGS)
    events.step(belief(0.0, boredom=0.8))
    assert events.step(said(1.0, boredom=0.75)) == []


def test_what_the_host_tells_waits_for_cool_down_and_budget() -> None:
    events = policy(budget_per_minute=0)
    assert events.step(said(0.0, boredom=0.8)) == []
    events = EventPolicy(SETTINGS)
    hold(events, 0, 2, delight=0.8)
    hold(events, 2.5, 4.5, delight=0.1)
    assert events.step(said(5.0, delight=0.8)) == []


def test_a_correction_waits_for_nothing() -> None:
    events = policy(budget_per_minute=0)
    assert told(events.step(said(0.0, boredom=0.8), B)) == [("boredom", "onset", 0.0)]
    assert events.suppressed == 0
    hold(events, 0.5, 3.0, boredom=0.1)
    assert events.open_states == {}
    assert told(events.step(said(3.5, boredom=0.8), B)) == [("boredom", "onset", 3.5)]  # within its cool-down
    strict = policy(enter=0.9, margin=0.5)
    assert told(strict.step(said(0.0, boredom=0.6), B)) == [("boredom", "onset", 0.0)]


# Whatever the beliefs are


STEPS = st.lists(
    st.tuples(
        st.floats(0.01, 20.0),
        st.sampled_from(STATES),
        st.floats(0.2, 0.98),
        st.integers(1, 12),  # how many times it is held
        st.sampled_from([None, None, None, None, OffsetReason.FACE_LOST]),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_onset_has_exactly_one_offset_and_all_rules_hold(
    steps: list[tuple[float, LearnerState, float, int, OffsetReason | None]],
) -> None:
    events = EventPolicy(SETTINGS)
    stream: list[LearnerEvent] = []
    t = 0.0
    for dt, state, p, times, lost in steps:
        for _ in range(times):
            t += dt
            stream += events.step(belief(t, **{state.value: p}))
        if lost:
            stream += events.close(t, lost)
    stream += events.close(t, OffsetReason.SESSION_END)
    assert events.open_states == {}

    open_: dict[str, LearnerEvent] = {}
    ended: dict[str, float] = defaultdict(lambda: float("-inf"))
    actionable: list[float] = []
    last = 0.0
    for event in stream:
        assert event.t >= last
        last = event.t
        timing = SETTINGS.timing[LearnerState(event.kind)]
        if event.phase == "onset":
            assert event.kind not in open_
            assert event.t - event.t_start >= timing.dwell_s
            assert event.t - ended[event.kind] >= timing.cooldown_s
            assert event.confidence >= SETTINGS.enter
            if LearnerState(event.kind) in SETTINGS.actionable:
                actionable.append(event.t)
                assert len([x for x in actionable if event.t - x < 60]) <= 2
            open_[event.kind] = event
            continue
        assert event.t_start == open_[event.kind].t_start
        if event.phase == "offset":
            del open_[event.kind]
            assert event.t_end is not None
            assert event.t_start <= event.t_end <= event.t
            ended[event.kind] = event.t
        else:
            assert event.phase == "update"
    assert open_ == {}


def test_without_evidence_nothing_begins_and_the_dwell_starts_again() -> None:
    made = policy()
    dwell = next(e for e in hold(policy(), 0, 30, confusion=0.9) if e.phase == "onset").t
    assert dwell > 1
    assert hold(made, 0, dwell - 0.5, confusion=0.9) == []
    unseen = [
        made.step(replace(belief(t, confusion=0.9), evidence=Evidence.NONE)) for t in np.arange(dwell, dwell + 20, 0.5)
    ]
    assert unseen == [[]] * len(unseen)
    events = hold(made, dwell + 20, 2 * dwell + 22, confusion=0.9)
    assert [(e.kind, e.phase) for e in events][:1] == [("confusion", "onset")]
    assert events[0].t == dwell + 20 + dwell
