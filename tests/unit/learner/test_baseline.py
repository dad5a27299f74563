import numpy as np
import pytest
from numpy.typing import NDArray

from affect.labels import EMOTIONS, Emotion
from affect.learner.baseline import PastMean, PersonBaseline

POPULATION = np.array([0.08, 0.03, 0.03, 0.10, 0.11, 0.06, 0.59])
SAD_AT_REST = np.array([0.05, 0.01, 0.05, 0.02, 0.50, 0.02, 0.35])
SAD = EMOTIONS.index(Emotion.SAD)


def baseline(length_s: float = 60, weight: float = 0.5, prior_s: float = 20) -> PersonBaseline:
    return PersonBaseline(POPULATION, length_s=length_s, weight=weight, prior_s=prior_s)


def rest(
    made: PersonBaseline, seconds: float, row: NDArray[np.float64] = SAD_AT_REST, fps: float = 5
) -> PersonBaseline:
    for _ in range(round(seconds * fps)):
        made.add(row, 1 / fps)
    return made


def test_before_the_first_face_nothing_is_known() -> None:
    made = baseline()
    assert made.strength == 0
    assert np.array_equal(made.mean, POPULATION)
    np.testing.assert_allclose(made.correct(SAD_AT_REST), SAD_AT_REST / SAD_AT_REST.sum())


def test_the_mean_is_weighted_by_time_not_by_frames() -> None:
    made = baseline()
    one, two = np.eye(7)[0], np.eye(7)[1]
    for _ in range(30):
        made.add(one, 0.1)
    made.add(two, 1.0)
    assert made.seconds == pytest.approx(4)
    np.testing.assert_allclose(made.mean[:2], [0.75, 0.25])


def test_a_long_gap_counts_as_one_second() -> None:
    made = baseline()
    made.add(SAD_AT_REST, 30.0)
    assert made.seconds == 1.0


def test_time_that_runs_back_counts_nothing() -> None:
    made = baseline()
    made.add(SAD_AT_REST, -1.0)
    made.add(SAD_AT_REST, 0.0)
    assert made.seconds == 0


@pytest.mark.parametrize(("seconds", "expected"), [(5, 0.1), (20, 0.25), (60, 0.375)])
def test_strength_grows_with_seconds_of_face(seconds: float, expected: float) -> None:
    # .5 * s / (s + 20)
    assert rest(baseline(), seconds).strength == pytest.approx(expected)


def test_it_is_frozen_when_it_is_complete() -> None:
    made = rest(baseline(length_s=10), 10)
    mean = made.mean.copy()
    rest(made, 20, np.eye(7)[3])
    assert made.seconds == pytest.approx(10)
    np.testing.assert_allclose(made.mean, mean)


def test_a_resting_sad_face_counts_as_less_sad() -> None:
    made = rest(baseline(), 60)
    corrected = made.correct(SAD_AT_REST)
    assert corrected.sum() == pytest.approx(1)
    assert corrected[SAD] < 0.75 * SAD_AT_REST[SAD]
    # Odds of sad against happy: .5/.02 times ((.11/.5) / (.10/.02)) ** .375
    assert corrected[SAD] / corrected[3] == pytest.approx(25 * ((0.11 / 0.5) / (0.10 / 0.02)) ** 0.375)


def test_at_full_strength_a_face_at_rest_is_the_population() -> None:
    made = rest(baseline(weight=1.0, prior_s=0.0), 60)
    np.testing.assert_allclose(made.correct(SAD_AT_REST), POPULATION / POPULATION.sum(), rtol=1e-9)


def test_an_emotion_never_seen_is_not_blown_up() -> None:
    never = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    made = rest(baseline(weight=1.0, prior_s=0.0), 60, never)
    # The rarest mean is held at .01: happy at most .10 / .01 = 10 times likelier.
    odds = made.correct(np.array([0, 0, 0, 0.5, 0, 0, 0.5]))
    assert odds[3] / odds[6] == pytest.approx(10 / 0.59)


def test_without_weight_nothing_is_corrected() -> None:
    np.testing.assert_allclose(rest(baseline(weight=0), 60).correct(POPULATION), POPULATION / POPULATION.sum())


def test_past_mean_grows_with_the_past() -> None:
    past = PastMean(weight=0.5, prior=3.0)
    assert past.usual == 0.0
    past.add(np.array([2.0, -2.0]), 1.0)
    np.testing.assert_allclose(past.usual, 0.5 * np.array([2.0, -2.0]) / 4)
    past.add(np.array([4.0, 0.0]), 2.0)
    np.testing.assert_allclose(past.usual, 0.5 * np.array([10.0, -2.0]) / 6)


def test_an_observation_of_no_weight_is_none() -> None:
    past = PastMean(weight=1.0, prior=3.0)
    past.add(np.array([2.0]), 0.0)
    assert past.usual == 0.0
