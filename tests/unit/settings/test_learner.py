from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from affect.labels import EMOTIONS, STATES, Emotion, LearnerState
from affect.settings.learner import CircumplexSettings, EventSettings, FittedSettings, HmmSettings, LearnerSettings

MODELS = (HmmSettings, FittedSettings, CircumplexSettings, EventSettings, LearnerSettings)
# A name, a path and the two nested tables carry no number of their own.
WITHOUT_NUMBERS = {
    "LearnerSettings.estimator",
    "LearnerSettings.fit",
    "LearnerSettings.circumplex",
    "LearnerSettings.events",
}
FIELDS = [
    (model, name)
    for model in MODELS
    for name in model.model_fields
    if f"{model.__name__}.{name}" not in WITHOUT_NUMBERS
]


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{m.__name__}.{n}" for m, n in FIELDS])
def test_every_number_has_a_description_and_a_source(model: type[BaseModel], name: str) -> None:
    field = model.model_fields[name]
    assert field.description
    assert isinstance(field.json_schema_extra, dict)
    assert str(field.json_schema_extra["source"]).strip()


def test_the_tables_are_those_of_the_design() -> None:
    hmm = HmmSettings()
    names = ("neutral", "engagement", "confusion", "frustration", "boredom", "delight", "surprise")
    in_order = [LearnerState(name) for name in names]
    assert [hmm.base_rates[s] for s in in_order] == [0.29, 0.24, 0.17, 0.09, 0.14, 0.04, 0.03]
    assert [hmm.half_lives_s[s] for s in in_order] == [20, 30, 20, 15, 45, 5, 4]
    assert hmm.emission[LearnerState.FRUSTRATION] == (0.20, 0.09, 0.05, 0.17, 0.15, 0.04, 0.30)
    assert hmm.affinities["confusion-frustration"] == hmm.affinities["frustration-boredom"] == 3
    assert set(hmm.host_evidence) >= {
        "answer_correct",
        "answer_wrong",
        "slow_response",
        "fast_guess",
        "hint_request",
        "off_task",
        "typed_frustration",
    }


def test_every_state_but_neutral_makes_events() -> None:
    events = EventSettings()
    assert set(events.timing) == set(STATES) - {LearnerState.NEUTRAL}
    assert set(events.actionable) == {LearnerState.CONFUSION, LearnerState.FRUSTRATION, LearnerState.BOREDOM}
    assert events.budget_per_minute == 2
    assert events.leave < events.enter


def test_valence_and_arousal_are_those_of_the_design() -> None:
    circumplex = CircumplexSettings()
    table = {e.value: (circumplex.valence[e], circumplex.arousal[e]) for e in EMOTIONS}
    assert table == {
        "happy": (0.90, 0.50),
        "sad": (-0.80, -0.50),
        "angry": (-0.65, 0.50),
        "fear": (-0.70, 0.50),
        "disgust": (-0.65, 0.30),
        "surprise": (0.30, 0.55),
        "neutral": (0, 0),
    }


def changed(table: Mapping[Any, Any], **changes: Any) -> dict[Any, Any]:
    return {str(key): value for key, value in table.items()} | changes


def without(table: Mapping[Any, Any], key: str) -> dict[str, Any]:
    return {str(k): v for k, v in table.items() if k != key}


DEFAULT = HmmSettings()
ROW = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"base_rates": without(DEFAULT.base_rates, "boredom")}, "base_rates lacks boredom"),
        ({"half_lives_s": without(DEFAULT.half_lives_s, "delight")}, "half_lives_s lacks delight"),
        ({"emission": without(DEFAULT.emission, "neutral")}, "emission lacks neutral"),
        ({"class_shares": without(DEFAULT.class_shares, "fear")}, "class_shares"),
        ({"base_rates": changed(DEFAULT.base_rates, boredom=0)}, "must be positive"),
        ({"half_lives_s": changed(DEFAULT.half_lives_s, boredom=-1)}, "must be positive"),
        ({"base_rates": changed(DEFAULT.base_rates, bored=0.1)}, "base_rates"),
        ({"emission": changed(DEFAULT.emission, neutral=ROW[:6])}, "emission.neutral must be 7 positive"),
        ({"emission": changed(DEFAULT.emission, neutral=(*ROW[:6], 0.6))}, "sum to 1"),
        ({"emission": changed(DEFAULT.emission, neutral=(0, 0.2, *ROW[2:]))}, "positive"),
        ({"affinities": {"boredom": 1}}, "expected STATE-STATE"),
        ({"affinities": {"boredom-boring": 1}}, "expected STATE-STATE"),
        ({"affinities": {"boredom-neutral": -1}}, "expected STATE-STATE"),
        ({"host_evidence": {"nod": {"neutral": 1}}}, "host_evidence.nod must give"),
        ({"host_evidence": {"nod": dict.fromkeys(STATES, 0)}}, "host_evidence.nod must give a positive"),
        ({"tau_c_s": 0}, "must be positive"),
        ({"tau_host_s": -1}, "must be positive"),
        ({"correction_factor": 0}, "correction_factor"),
        ({"correction_least": 1}, "correction_least"),
        ({"frame_s": 0}, "frame_s"),
        ({"affinities": {"boredom-boredom": 2}}, "expected STATE-STATE"),
        ({"affinities": {"boredom-neutral": 1, "neutral-boredom": 2}}, "named twice"),
        ({"class_shares": changed(DEFAULT.class_shares, fear=-0.1)}, "must not be negative"),
        ({"class_shares": dict.fromkeys(DEFAULT.class_shares, 0)}, "not all zero"),
        ({"baseline_weight": 1.1}, "between 0 and 1"),
        ({"tau": 4}, "Extra inputs"),
        ({"tau_c_s": float("nan")}, "finite"),
        ({"baseline_prior_s": -20}, "greater than or equal to 0"),
        ({"min_share": 3}, "less than or equal to 1"),
    ],
)
def test_tables_that_make_no_model_are_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HmmSettings.model_validate(table)


def test_a_host_may_bring_evidence_of_its_own() -> None:
    settings = HmmSettings.model_validate({"host_evidence": {"nod": dict.fromkeys(STATES, 1.5)}})
    assert settings.host_evidence["nod"][LearnerState.BOREDOM] == 1.5


@pytest.mark.parametrize("name", ["valence", "arousal"])
def test_an_emotion_without_valence_or_arousal_is_refused(name: str) -> None:
    table = without(getattr(CircumplexSettings(), name), "fear")
    with pytest.raises(ValidationError, match="fear"):
        CircumplexSettings.model_validate({name: table})


@pytest.mark.parametrize(
    "table",
    [
        {"leave": 0.6, "enter": 0.55},
        {"leave": 0},
        {"enter": 1.0},
        {"enter": 0.39, "leave": 0.4},
        {"margin": -0.1},
        {"margin": 1.0},
    ],
)
def test_thresholds_must_be_ordered(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="expected 0 < leave <= enter < 1"):
        EventSettings.model_validate(table)


@pytest.mark.parametrize(
    ("model", "table"),
    [
        (LearnerSettings, {"min_quality": 7}),
        (LearnerSettings, {"max_yaw": -3}),
        (LearnerSettings, {"absent_s": -1}),
        (LearnerSettings, {"absent_s": float("nan")}),
        (LearnerSettings, {"hold_s": float("inf")}),
        (EventSettings, {"budget_per_minute": -5}),
        (EventSettings, {"leave_s": -1}),
        (EventSettings, {"update_s": -1}),
        (CircumplexSettings, {"min_cutoff_hz": -1}),
        (CircumplexSettings, {"beta": -1}),
    ],
)
def test_values_that_would_switch_all_off_are_refused(model: type[BaseModel], table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(table))):
        model.model_validate(table)


def test_times_are_not_negative() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        EventSettings.model_validate({"timing": {"boredom": {"dwell_s": -1, "cooldown_s": 0}}})


@pytest.mark.parametrize("model", MODELS)
def test_settings_are_frozen_and_take_no_other_key(model: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        model.model_validate({"x": 1})
    with pytest.raises(ValidationError, match="frozen"):
        setattr(model(), next(iter(model.model_fields)), 1)


def test_states_and_emotions_are_the_keys() -> None:
    assert set(HmmSettings().emission) == set(STATES)
    assert set(CircumplexSettings().valence) == set(Emotion)
