from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from affect.cloudevents import CloudEvent, EventNumbering, describe_model, fingerprint
from affect.settings import Settings
from affect.types import LearnerEvent
from affect.version import __version__

STATES = {"neutral": 0.1234567, "confusion": 0.8765433}


def event(phase: str = "onset", **changes: Any) -> LearnerEvent:
    fields: dict[str, Any] = {
        "kind": "confusion",
        "phase": phase,
        "confidence": 0.8765433,
        "t": 12.5,
        "t_start": 8.0,
        "t_end": None,
        "reason": None,
        "states": STATES,
        "valence": -0.25,
        "arousal": None,
        "evidence": "face",
    }
    return LearnerEvent(**(fields | changes))


def settings(**tables: Any) -> Settings:
    return Settings.model_validate(tables)


def test_a_learner_event_becomes_a_cloudevent() -> None:
    wrapped = EventNumbering("anna", "cnn+hmm/1", "abc", run="run1").wrap(event())
    assert wrapped.model_dump(exclude={"time"}) == {
        "specversion": "1.0",
        "id": "run1-1",
        "source": "/tutor-affect/sessions/anna",
        "type": "org.tutor-affect.learner.confusion.onset.v1",
        "subject": "anna",
        "datacontenttype": "application/json",
        "data": {
            "state": "confusion",
            "phase": "onset",
            "confidence": 0.8765433,
            "states": {"neutral": 0.12346, "confusion": 0.87654},
            "valence": -0.25,
            "arousal": None,
            "t": 12.5,
            "t_start": 8.0,
            "t_end": None,
            "reason": None,
            "evidence": "face",
            "model": "cnn+hmm/1",
            "config": "abc",
            "seq": 1,
        },
    }


def test_an_offset_carries_end_and_reason() -> None:
    wrapped = EventNumbering("s", "m", "c").wrap(event("offset", t_end=11.0, reason="decay"))
    assert (wrapped.data.t_end, wrapped.data.reason) == (11.0, "decay")
    assert wrapped.type.endswith(".confusion.offset.v1")


def test_numbers_grow_and_ids_are_unique_across_runs() -> None:
    first, second = EventNumbering("s", "m", "c"), EventNumbering("s", "m", "c")
    wrapped = [first.wrap(event()), first.wrap(event()), second.wrap(event())]
    assert [w.data.seq for w in wrapped] == [1, 2, 1]
    assert len({w.id for w in wrapped}) == 3


def test_time_is_now_in_rfc_3339_with_a_z() -> None:
    text = EventNumbering("s", "m", "c").wrap(event()).time
    assert text.endswith("Z")
    assert abs(datetime.fromisoformat(text) - datetime.now(UTC)) < timedelta(minutes=1)


def test_numbering_goes_on_after_a_restart() -> None:
    assert EventNumbering("s", "m", "c", seq=41).wrap(event()).data.seq == 42


def test_an_object_with_a_foreign_field_is_no_event() -> None:
    table = EventNumbering("s", "m", "c").wrap(event()).model_dump(mode="json")
    assert CloudEvent.model_validate(table).data.state == "confusion"
    with pytest.raises(ValidationError, match="extra"):
        CloudEvent.model_validate(table | {"extra": 1})


def test_the_model_is_named_by_backend_estimator_and_version() -> None:
    named = describe_model(settings(inference={"backend": "resnet"}, learner={"estimator": "mine"}))
    assert named == f"resnet+mine/{__version__}"


@pytest.mark.parametrize(
    "change",
    [
        {"learner": {"max_yaw": 31.0}},
        {"learner": {"events": {"enter": 0.6}}},
        {"plugins": {"hmm": {"tau_c_s": 5.0}}},
        {"inference": {"backend": "resnet"}},
        {"vision": {"detector": "haar"}},
    ],
)
def test_the_fingerprint_changes_with_what_changes_events(change: dict[str, Any]) -> None:
    assert fingerprint(settings(**change)) != fingerprint(settings())


def test_the_fingerprint_does_not_change_with_the_port() -> None:
    assert fingerprint(settings(service={"port": 9})) == fingerprint(settings())
    assert len(fingerprint(settings())) == 12
    assert int(fingerprint(settings()), 16) >= 0
