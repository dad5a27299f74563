"""Event figures on hand-made time lines."""

import numpy as np
import pytest

from affect.labels import STATES, LearnerState
from affect.learner.score import Score, Segment, add_session, segments

T = np.arange(0, 60, 0.5)
NEUTRAL, BOREDOM, DELIGHT = (STATES.index(s) for s in ("neutral", "boredom", "delight"))


def truth(**spans: tuple[float, float]) -> np.ndarray:
    """A time line that is neutral but for the named spans."""
    line = np.full(len(T), NEUTRAL)
    for state, (start, end) in spans.items():
        line[(start <= T) & (end > T)] = STATES.index(LearnerState(state))
    return line


def score(true: np.ndarray, *found: Segment) -> Score:
    total = Score()
    uniform = np.full((len(T), len(STATES)), 1 / len(STATES))
    add_session(total, T, true, found, true, uniform)
    return total


def test_segments_leave_neutral_out() -> None:
    assert segments(T, truth(boredom=(10, 20), delight=(20, 22))) == [
        Segment(LearnerState.BOREDOM, 10, 20),
        Segment(LearnerState.DELIGHT, 20, 22),
    ]


def test_a_late_detection_within_the_state_is_a_hit_with_its_latency() -> None:
    total = score(truth(boredom=(10, 30)), Segment(LearnerState.BOREDOM, 18, 40))
    assert (total.hits, total.false_alarms, total.misses) == (1, 0, 0)
    assert total.event_f1 == 1
    assert total.latency(50) == 8


def test_flicker_counts_once_and_then_as_false_alarms() -> None:
    flicker = [Segment(LearnerState.BOREDOM, start, start + 1) for start in (12, 14, 16)]
    total = score(truth(boredom=(10, 30)), *flicker)
    assert (total.hits, total.false_alarms, total.misses) == (1, 2, 0)
    assert total.event_f1 == pytest.approx(2 / 4)


@pytest.mark.parametrize(("start", "hit"), [(34.9, True), (35.1, False), (5.1, True), (4.9, False)])
def test_collar_of_five_seconds(start: float, hit: bool) -> None:
    total = score(truth(boredom=(10, 30)), Segment(LearnerState.BOREDOM, start, start + 1))
    assert total.hits == int(hit)


@pytest.mark.parametrize(("start", "hit"), [(13.9, True), (14.1, False)])
def test_collar_of_two_seconds_for_delight(start: float, hit: bool) -> None:
    total = score(truth(delight=(10, 12)), Segment(LearnerState.DELIGHT, start, start + 1))
    assert total.hits == int(hit)


def test_the_wrong_state_is_a_miss_and_a_false_alarm() -> None:
    total = score(truth(boredom=(10, 30)), Segment(LearnerState.CONFUSION, 12, 20))
    assert (total.hits, total.false_alarms, total.misses) == (0, 1, 1)


def test_switches_hours_and_nll() -> None:
    total = score(truth(boredom=(10, 30)))
    assert total.switches == 2
    assert total.hours == pytest.approx(59.5 / 3600)
    assert total.nll == pytest.approx(np.log(7))
