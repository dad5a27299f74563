"""When the tutor changes course: only on a sure belief, seldom, and not for those who do well."""

import pytest
from affect_autotutor.policy import AffectPolicy, PolicySettings, Tactic

from affect.cloudevents import CloudEvent, EventNumbering
from affect.labels import Evidence, LearnerState
from affect.types import LearnerEvent

NUMBERING = EventNumbering("s", "model", "config")
S = LearnerState


def event(state: str, phase: str, t: float, confidence: float = 0.5, start: float | None = None) -> CloudEvent:
    since = t if start is None else start
    return NUMBERING.wrap(
        LearnerEvent(state, phase, confidence, t, since, None, None, {}, 0.0, 0.0, Evidence.FACE.value)
    )


def told(*events: CloudEvent) -> AffectPolicy:
    policy = AffectPolicy()
    for each in events:
        policy.tell(each)
    return policy


def decide(policy: AffectPolicy, t: float = 100.0, *, right: bool = False, mastery: float = 0.3) -> Tactic | None:
    return policy.decide(t, right=right, mastery=mastery)


def test_without_events_nothing_changes() -> None:
    assert [decide(AffectPolicy(), right=right) for right in (True, False)] == [None, None]


def test_confusion_is_left_alone_while_it_may_be_productive() -> None:
    onset = event("confusion", "onset", 80.0)
    assert decide(told(onset), 100.0) is None
    assert decide(told(onset), 110.0) is Tactic.HINT


def test_a_second_confusion_in_one_question_gets_its_hint_at_once() -> None:
    first = event("confusion", "onset", 10.0), event("confusion", "offset", 20.0)
    policy = told(*first, event("confusion", "onset", 50.0))
    assert decide(policy, 51.0) is Tactic.HINT
    fresh = told(*first)
    fresh.new_question()
    fresh.tell(event("confusion", "onset", 50.0))
    assert decide(fresh, 51.0) is None


def test_frustration_gets_a_smaller_step_and_then_the_answer() -> None:
    policy = AffectPolicy(PolicySettings(turns_between=1))
    policy.tell(event("frustration", "onset", 10.0))
    assert [decide(policy, t) for t in (11.0, 20.0)] == [Tactic.SMALLER_STEP, Tactic.ASSERTION]
    policy.new_question()
    assert decide(policy, 30.0) is Tactic.SMALLER_STEP


@pytest.mark.parametrize(("right", "tactic"), [(True, Tactic.HARDER), (False, Tactic.ANOTHER)])
def test_boredom_depends_on_how_the_learner_does(right: bool, tactic: Tactic) -> None:
    assert decide(told(event("boredom", "onset", 10.0)), right=right) is tactic


@pytest.mark.parametrize("state", ["delight", "surprise"])
def test_delight_and_surprise_are_acknowledged_once(state: str) -> None:
    policy = AffectPolicy(PolicySettings(turns_between=1))
    policy.tell(event(state, "onset", 10.0))
    assert [decide(policy, right=True), decide(policy, right=True)] == [Tactic.ACKNOWLEDGE, None]
    policy.tell(event(state, "onset", 20.0))
    assert decide(policy, right=False) is None  # embarrassed, rather


def test_engagement_is_not_disturbed() -> None:
    assert decide(told(event("engagement", "onset", 10.0, 0.9))) is None


def test_a_weak_belief_changes_nothing_until_an_update_makes_it_sure() -> None:
    policy = told(event("frustration", "onset", 10.0, 0.31))
    assert decide(policy) is None
    policy.tell(event("frustration", "update", 15.0, 0.45, start=10.0))
    assert decide(policy) is Tactic.SMALLER_STEP


def test_what_ended_changes_nothing() -> None:
    policy = told(event("frustration", "onset", 10.0), event("frustration", "offset", 20.0))
    assert policy.open_states == {}
    assert decide(policy) is None


def test_at_most_one_such_move_in_four_turns() -> None:
    policy = told(event("boredom", "onset", 10.0))
    found = [decide(policy, t) for t in range(11, 20)]
    assert [number for number, tactic in enumerate(found) if tactic is not None] == [0, 4, 8]


def test_who_does_well_is_spared_consolation_but_not_a_challenge() -> None:
    assert decide(told(event("frustration", "onset", 10.0)), mastery=0.85) is None
    assert decide(told(event("boredom", "onset", 10.0)), right=True, mastery=0.85) is Tactic.HARDER


def test_presence_and_the_record_of_a_correction_are_no_feelings() -> None:
    policy = told(event("presence", "present", 1.0, 1.0), event("boredom", "corrected", 2.0, 1.0))
    assert policy.open_states == {}


def test_a_snapshot_says_what_is_open_but_not_how_surely() -> None:
    policy = AffectPolicy()
    policy.begin({S.FRUSTRATION: 5.0})
    assert policy.open_states == {S.FRUSTRATION: 5.0}
    assert decide(policy) is None
    policy.tell(event("frustration", "update", 12.0, start=5.0))
    policy.begin({S.FRUSTRATION: 5.0})  # again, as consent changed
    assert decide(policy) is Tactic.SMALLER_STEP
    policy.begin({})
    assert policy.open_states == {}


def test_a_decision_that_changed_nothing_need_not_be_waited_for() -> None:
    policy = told(event("boredom", "onset", 10.0))
    assert decide(policy) is Tactic.ANOTHER
    policy.unused()
    assert decide(policy) is Tactic.ANOTHER
