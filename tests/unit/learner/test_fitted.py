from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from affect.labels import STATES, Emotion, LearnerState
from affect.learner.dynamics import Dynamics, rate_matrix, stationary
from affect.learner.estimator import Adopts, HmmEstimator
from affect.learner.evidence import FaceEvidence
from affect.learner.fitted import FittedEstimator
from affect.learner.heads import READINGS, BackendFit, StateHeads
from affect.settings.fit import LearnerFit
from affect.settings.learner import FittedSettings, HmmSettings
from affect.types import FloatArray

PLAIN = FittedSettings(frame_s=100.0, baseline_weight=0.0, tau_c_s=4.0, tau_heads_s=10.0, max_ratio=8.0)
PI = stationary(PLAIN)
KNOWN = (LearnerState.NEUTRAL, LearnerState.ENGAGEMENT, LearnerState.CONFUSION, LearnerState.FRUSTRATION)
STATE = {state: STATES.index(state) for state in STATES}
Emission = Mapping[LearnerState, tuple[float, ...]]
FLAT_ROW = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4)


def heads(slope: float = 1.0) -> StateHeads:
    """The embedding [5] is the score of each state with a head, neutral first; the curve starts at the rate."""
    states = (*KNOWN, LearnerState.BOREDOM)
    rate = np.full(5, 0.2)
    return StateHeads(
        states=states,
        embedding=np.eye(5),
        readings=np.zeros((5, len(READINGS))),
        mean=np.zeros(len(READINGS)),
        std=np.ones(len(READINGS)),
        bias=np.zeros(5),
        slope=np.full(5, slope),
        intercept=np.log(rate / (1 - rate)),
        rate=rate,
    )


def a_fit(found: StateHeads | None = None, emission: Emission | None = None) -> BackendFit:
    facts = LearnerFit(
        backend="x",
        weights_sha256=None,
        emission=dict(emission or HmmSettings().emission),
        emission_prior=1,
        data="",
        data_sha256="",
        faces=1,
        people=1,
    )
    return BackendFit(facts, found)


def face(*scores: float, emotion: Emotion = Emotion.NEUTRAL) -> FaceEvidence:
    row = np.full(7, 0.05, np.float32)
    row[list(Emotion).index(emotion)] = 0.7
    return FaceEvidence(row, None, 1.0, np.array(scores, np.float32) if scores else None)


def estimator(settings: FittedSettings = PLAIN, found: StateHeads | None = None) -> FittedEstimator:
    made = FittedEstimator(settings)
    made.adopt(a_fit(found or heads()))
    return made


def log_odds(before: NDArray[np.float64], after: FloatArray) -> NDArray[np.float64]:
    """What was weighed, up to a constant."""
    return np.asarray(np.log(after / before))


def test_heads_move_their_states_by_their_ratio() -> None:
    weighed = log_odds(PI, estimator().observe(0.0, face(0, 0, 1.0, 0, -1.0)))
    expected = {LearnerState.CONFUSION: 1.0, LearnerState.BOREDOM: -1.0}
    for state, score in expected.items():
        probability = 1 / (1 + 4 * np.exp(-score))
        ratio = weighed[STATE[state]] - weighed[STATE[LearnerState.ENGAGEMENT]]
        assert ratio == pytest.approx(np.log(probability / 0.2), abs=1e-5)


def test_states_without_a_head_are_weighed_by_the_emission_matrix() -> None:
    smiling = estimator().observe(0.0, face(0, 0, 0, 0, 0, emotion=Emotion.HAPPY))
    still = estimator().observe(0.0, face(0, 0, 0, 0, 0))
    assert smiling[STATE[LearnerState.DELIGHT]] > 2 * PI[STATE[LearnerState.DELIGHT]]
    assert still[STATE[LearnerState.DELIGHT]] < PI[STATE[LearnerState.DELIGHT]]
    # Among themselves the states with heads keep their base rates: the heads said nothing.
    known = [STATE[state] for state in (*KNOWN, LearnerState.BOREDOM)]
    for belief in (smiling, still):
        np.testing.assert_allclose(belief[known] / belief[known].sum(), PI[known] / PI[known].sum(), rtol=1e-5)


def test_a_strange_face_counts_at_most_so_much() -> None:
    weighed = log_odds(PI, estimator(found=heads(slope=50.0)).observe(0.0, face(0, 0, 9.0, 0, -9.0)))
    base = weighed[STATE[LearnerState.ENGAGEMENT]]
    assert weighed[STATE[LearnerState.CONFUSION]] - base == pytest.approx(np.log(5), abs=1e-4)  # probability 1 of .2
    assert weighed[STATE[LearnerState.BOREDOM]] - base == pytest.approx(-np.log(8), abs=1e-4)


@pytest.mark.parametrize(("dt", "kappa"), [(2.0, 0.2), (10.0, 1.0), (25.0, 1.0)])
def test_heads_are_tempered_by_a_time_of_their_own(dt: float, kappa: float) -> None:
    made = estimator()
    before = made.observe(0.0, face(0, 0, 0, 0, 0)).astype(np.float64)
    passed = before @ Dynamics(rate_matrix(PLAIN), PI).transition(dt)
    weighed = log_odds(passed, made.observe(dt, face(0, 0, 1.0, 0, 0)))
    ratio = weighed[STATE[LearnerState.CONFUSION]] - weighed[STATE[LearnerState.ENGAGEMENT]]
    assert ratio == pytest.approx(kappa * np.log((1 / (1 + 4 * np.exp(-1.0))) / 0.2), abs=1e-5)


@pytest.mark.parametrize("found", [None, heads()])
def test_what_heads_cannot_read_is_evidence_as_of_hmm(found: StateHeads | None) -> None:
    """A backend without heads, or a face without the embedding."""
    fitted, plain = FittedEstimator(PLAIN), HmmEstimator(HmmSettings(frame_s=100.0, baseline_weight=0.0, tau_c_s=4.0))
    fitted.adopt(a_fit(found))
    for k in range(10):
        seen = face(emotion=Emotion.SAD)
        np.testing.assert_allclose(fitted.observe(k * 0.5, seen), plain.observe(k * 0.5, seen), rtol=1e-6)


def test_a_fit_brings_its_emission_matrix() -> None:
    emission = dict.fromkeys(STATES, FLAT_ROW)
    made = HmmEstimator(HmmSettings())
    made.adopt(a_fit(emission=emission))
    np.testing.assert_allclose(made.observe(0.0, face(emotion=Emotion.HAPPY)), stationary(HmmSettings()), rtol=1e-5)
    assert isinstance(made, Adopts)


def test_a_matrix_in_the_settings_wins_over_the_fit() -> None:
    mine = HmmSettings(emission=dict(HmmSettings().emission))
    with_fit, without = HmmEstimator(mine), HmmEstimator(mine)
    with_fit.adopt(a_fit(emission=dict.fromkeys(STATES, FLAT_ROW)))
    seen = face(emotion=Emotion.HAPPY)
    np.testing.assert_array_equal(with_fit.observe(0.0, seen), without.observe(0.0, seen))


def test_the_past_of_a_person_is_subtracted_when_asked_and_only_the_past() -> None:
    asked = PLAIN.model_copy(update={"person_weight": 1.0, "person_prior": 1.0})
    with_past, without = estimator(asked), estimator()
    confused = face(0, 0, 1.5, 0, 0)
    np.testing.assert_array_equal(with_past.observe(0.0, confused), without.observe(0.0, confused))
    for k in range(1, 40):
        first, second = with_past.observe(k * 10.0, confused), without.observe(k * 10.0, confused)
    place = STATE[LearnerState.CONFUSION]
    assert first[place] < second[place]
    assert first[place] == pytest.approx(float(PI[place]), rel=0.15)  # what is usual for the person says nothing


def test_belief_stays_a_distribution() -> None:
    made = estimator(found=heads(slope=5.0))
    rng = np.random.default_rng(0)
    for k in range(300):
        belief = made.observe(k * 5.0, face(*rng.normal(0, 50, 5)))
    assert np.isfinite(belief).all()
    assert float(belief.sum()) == pytest.approx(1, abs=1e-5)
