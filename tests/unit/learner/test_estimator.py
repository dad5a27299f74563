import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from affect.errors import ErrorCode, ProtocolError
from affect.labels import EMOTIONS, STATES, Emotion, LearnerState
from affect.learner.dynamics import rate_matrix
from affect.learner.estimator import HasBaseRates, HmmEstimator
from affect.learner.evidence import FaceEvidence
from affect.settings.learner import HmmSettings
from affect.types import FloatArray

PLAIN = HmmSettings(
    frame_s=100.0, baseline_weight=0.0, tau_c_s=4.0, tau_host_s=10.0, correction_factor=8.0, min_share=0.03
)
PI = np.array([0.29, 0.24, 0.17, 0.09, 0.14, 0.04, 0.03])
Q = rate_matrix(PLAIN)
E = np.array([PLAIN.emission[s] for s in STATES])
E = E / E.sum(axis=1, keepdims=True)
# Class shares of FER2013's Training split, none below .03.
SHARES = np.array([0.139, 0.03, 0.143, 0.251, 0.168, 0.110, 0.173])
SHARES = SHARES / SHARES.sum()


def showing(emotion: Emotion, share: float = 0.8) -> FaceEvidence:
    row = np.full(7, (1 - share) / 6, np.float32)
    row[EMOTIONS.index(emotion)] = share
    return FaceEvidence(row, None, 1.0)


def posterior(belief: NDArray[np.float64], likelihood: NDArray[np.float64]) -> NDArray[np.float64]:
    weighed = belief * likelihood
    return np.asarray(weighed / weighed.sum())


def likelihood(face: FaceEvidence, kappa: float = 1.0) -> NDArray[np.float64]:
    """P(face | state) up to a factor: sum over k of P(emotion k | state) P(k | face) / P(k)."""
    shown = face.probabilities.astype(np.float64)
    return np.array([sum(E[s, k] * shown[k] / SHARES[k] for k in range(7)) for s in range(7)]) ** kappa


def of(belief: FloatArray, state: LearnerState) -> float:
    return float(belief[STATES.index(state)])


# Time


def test_before_any_evidence_it_believes_the_base_rates() -> None:
    np.testing.assert_allclose(HmmEstimator(PLAIN).advance(5.0), PI, rtol=1e-6)


def test_time_alone_moves_the_belief_by_the_chain() -> None:
    estimator = HmmEstimator(PLAIN)
    first = estimator.observe(0.0, showing(Emotion.HAPPY)).astype(np.float64)
    np.testing.assert_allclose(estimator.advance(2.5), first @ expm(Q * 2.5), atol=1e-6)


def test_in_a_gap_the_belief_returns_to_the_base_rates() -> None:
    estimator = HmmEstimator(PLAIN)
    before = estimator.observe(0.0, showing(Emotion.SURPRISE, 0.98))
    distances = [float(np.abs(estimator.advance(t) - PI).sum()) for t in (5.0, 30.0, 120.0, 3600.0)]
    assert distances == sorted(distances, reverse=True)
    assert float(np.abs(before - PI).sum()) > 0.5
    assert distances[-1] < 1e-5


def test_time_never_runs_back() -> None:
    estimator = HmmEstimator(PLAIN)
    estimator.observe(10.0, showing(Emotion.HAPPY))
    belief = estimator.advance(12.0)
    np.testing.assert_array_equal(estimator.advance(11.0), belief)
    np.testing.assert_array_equal(estimator.advance(12.0), belief)


# Faces


def test_the_first_face_counts_as_one_observation() -> None:
    face = showing(Emotion.HAPPY)
    expected = posterior(PI, likelihood(face))
    np.testing.assert_allclose(HmmEstimator(PLAIN).observe(3.0, face), expected, atol=1e-6)


def test_a_sure_face_is_bayes_rule_on_its_emission() -> None:
    sure = FaceEvidence(np.eye(7, dtype=np.float32)[3], None, 1.0)
    expected = posterior(PI, E[:, 3])
    np.testing.assert_allclose(HmmEstimator(PLAIN).observe(0.0, sure), expected, atol=1e-6)


@pytest.mark.parametrize(("dt", "kappa"), [(0.1, 0.025), (1.0, 0.25), (4.0, 1.0), (9.0, 1.0)])
def test_frames_closer_than_tau_are_tempered(dt: float, kappa: float) -> None:
    estimator = HmmEstimator(PLAIN)
    before = estimator.observe(0.0, showing(Emotion.NEUTRAL)).astype(np.float64)
    face = showing(Emotion.ANGRY)
    expected = posterior(before @ expm(Q * dt), likelihood(face, kappa))
    np.testing.assert_allclose(estimator.observe(dt, face), expected, atol=1e-6)


def test_a_classifier_that_only_knows_its_own_class_shares_says_nothing() -> None:
    shares = FaceEvidence(SHARES.astype(np.float32), None, 1.0)
    np.testing.assert_allclose(HmmEstimator(PLAIN).observe(0.0, shares), PI, atol=1e-6)


def test_the_same_frame_twice_says_nothing_new() -> None:
    estimator = HmmEstimator(PLAIN)
    belief = estimator.observe(1.0, showing(Emotion.ANGRY))
    np.testing.assert_array_equal(estimator.observe(1.0, showing(Emotion.ANGRY)), belief)


@pytest.mark.parametrize("emotion", [Emotion.HAPPY, Emotion.ANGRY, Emotion.NEUTRAL])
def test_the_frame_rate_hardly_matters(emotion: Emotion) -> None:
    def after(fps: int, seconds: int = 12) -> FloatArray:
        estimator = HmmEstimator(PLAIN)
        for k in range(seconds * fps + 1):
            belief = estimator.observe(k / fps, showing(emotion))
        return belief

    slow, fast = after(5), after(30)
    np.testing.assert_allclose(slow, fast, atol=0.01)
    assert float(np.abs(fast - PI).sum()) > 0.2  # and the faces did matter


def test_likely_emotions_lead_to_their_states() -> None:
    for emotion, state in (
        (Emotion.HAPPY, LearnerState.DELIGHT),
        (Emotion.SURPRISE, LearnerState.SURPRISE),
    ):
        estimator = HmmEstimator(PLAIN)
        for k in range(40):
            belief = estimator.observe(k * 0.25, showing(emotion, 0.95))
        assert STATES[int(belief.argmax())] is state


def test_the_persons_rest_is_learnt_and_divided_out() -> None:
    """A face that reads sad at rest must not count as a bored or confused one for ever."""
    row = np.array([0.05, 0.01, 0.05, 0.02, 0.50, 0.02, 0.35], np.float32)

    def after(weight: float) -> FloatArray:
        estimator = HmmEstimator(HmmSettings(baseline_weight=weight))
        for k in range(5 * 90):
            belief = estimator.observe(k / 5, FaceEvidence(row, None, 1.0))
        return belief

    without, with_baseline = after(0.0), after(1.0)
    assert of(with_baseline, LearnerState.BOREDOM) < of(without, LearnerState.BOREDOM) - 0.05
    assert of(with_baseline, LearnerState.ENGAGEMENT) > of(without, LearnerState.ENGAGEMENT)


def test_rest_tells_mean_and_strength() -> None:
    estimator = HmmEstimator(HmmSettings(baseline_s=60.0, baseline_weight=0.5, baseline_prior_s=20.0))
    assert estimator.rest is not None
    mean, strength = estimator.rest
    np.testing.assert_allclose(mean, PI @ E, rtol=1e-5)
    assert strength == 0
    for k in range(101):
        estimator.observe(k / 5, showing(Emotion.SAD, 0.7))
    mean, strength = estimator.rest
    assert strength == pytest.approx(0.5 * 20 / 40)
    np.testing.assert_allclose(mean, showing(Emotion.SAD, 0.7).probabilities, rtol=1e-5)


# The host


def test_host_evidence_is_weighed_by_bayes_rule() -> None:
    row = PLAIN.host_evidence["off_task"]
    expected = posterior(PI, np.array([row[s] for s in STATES]))
    found = HmmEstimator(PLAIN).host(0.0, "off_task")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert of(found, LearnerState.BOREDOM) > 2 * 0.14


def test_the_same_kind_soon_again_counts_in_proportion() -> None:
    estimator = HmmEstimator(PLAIN)
    row = np.array([PLAIN.host_evidence["hint_request"][s] for s in STATES])
    first = estimator.host(0.0, "hint_request").astype(np.float64)
    expected = posterior(first @ expm(Q * 2.5), row**0.25)  # 2.5 of tau_host_s = 10 seconds
    np.testing.assert_allclose(estimator.host(2.5, "hint_request"), expected, atol=1e-6)


def test_another_kind_counts_fully() -> None:
    estimator = HmmEstimator(PLAIN)
    row = np.array([PLAIN.host_evidence["answer_wrong"][s] for s in STATES])
    first = estimator.host(0.0, "hint_request").astype(np.float64)
    np.testing.assert_allclose(estimator.host(0.0, "answer_wrong"), posterior(first, row), atol=1e-6)


def test_a_kind_nobody_knows_is_refused_with_the_known_ones() -> None:
    estimator = HmmEstimator(PLAIN)
    before = estimator.advance(0.0)
    with pytest.raises(ProtocolError) as caught:
        estimator.host(5.0, "yawn")
    assert caught.value.code is ErrorCode.UNKNOWN_NAME
    assert "'yawn'" in caught.value.message
    assert "answer_correct, answer_wrong, fast_guess" in caught.value.message
    np.testing.assert_array_equal(estimator.advance(0.0), before)


def test_kinds_are_those_of_the_settings() -> None:
    settings = HmmSettings.model_validate({"host_evidence": {"nod": dict.fromkeys(STATES, 1.0)}})
    assert HmmEstimator(settings).kinds == ("nod",)
    assert "typed_frustration" in HmmEstimator(PLAIN).kinds
    assert list(HmmEstimator(PLAIN).kinds) == sorted(HmmEstimator(PLAIN).kinds)


def test_a_single_picture_counts_for_frame_s_at_most() -> None:
    face, brief = showing(Emotion.ANGRY), PLAIN.model_copy(update={"frame_s": 1.0})
    estimator = HmmEstimator(brief)
    first = estimator.observe(0.0, face)
    np.testing.assert_allclose(first, posterior(PI, likelihood(face, 0.25)), atol=1e-6)
    after_a_gap = posterior(first.astype(np.float64) @ expm(Q * 60), likelihood(face, 0.25))
    np.testing.assert_allclose(estimator.observe(60.0, face), after_a_gap, atol=1e-6)


def test_a_correction_makes_a_state_as_likely_as_it_must_be_and_keeps_the_others_in_proportion() -> None:
    estimator = HmmEstimator(HmmSettings())
    for k in range(200):
        before = estimator.observe(k / 5, showing(Emotion.HAPPY, 0.98)).astype(np.float64)
    found = estimator.correct(39.8, LearnerState.FRUSTRATION)
    named = STATES.index(LearnerState.FRUSTRATION)
    assert found[named] == pytest.approx(0.6)
    np.testing.assert_allclose(np.delete(found, named) / 0.4, np.delete(before, named) / (1 - before[named]), rtol=1e-4)


def test_base_rates_are_what_the_belief_drifts_to() -> None:
    estimator = HmmEstimator(PLAIN)
    assert isinstance(estimator, HasBaseRates)
    np.testing.assert_allclose([estimator.base_rates[s] for s in STATES], estimator.advance(9.0), rtol=1e-5)


def test_a_correction_makes_the_named_state_eight_times_likelier() -> None:
    found = HmmEstimator(PLAIN.model_copy(update={"correction_least": 0.0})).correct(0.0, LearnerState.BOREDOM)
    odds = of(found, LearnerState.BOREDOM) / (1 - of(found, LearnerState.BOREDOM))
    assert odds == pytest.approx(8 * 0.14 / 0.86, rel=1e-4)


# Isolation


def test_sessions_do_not_share_their_belief() -> None:
    one, two = HmmEstimator(PLAIN), HmmEstimator(PLAIN)
    one.observe(0.0, showing(Emotion.HAPPY, 0.98))
    np.testing.assert_allclose(two.advance(0.0), PI, rtol=1e-6)


def test_what_was_handed_out_does_not_change_later() -> None:
    estimator = HmmEstimator(PLAIN)
    first = estimator.observe(0.0, showing(Emotion.HAPPY))
    copy = first.copy()
    first[:] = 0
    second = estimator.advance(0.0)
    np.testing.assert_array_equal(second, copy)


def test_impossible_evidence_leaves_a_distribution() -> None:
    estimator = HmmEstimator(PLAIN)
    for k in range(2000):
        belief = estimator.observe(k * 10.0, FaceEvidence(np.eye(7, dtype=np.float32)[k % 2], None, 1.0))
    assert np.isfinite(belief).all()
    assert float(belief.sum()) == pytest.approx(1, abs=1e-5)
