from math import exp, pi

import numpy as np
import pytest

from affect.labels import EMOTIONS, Emotion
from affect.learner.circumplex import Circumplex, OneEuro
from affect.settings.learner import CircumplexSettings

SETTINGS = CircumplexSettings()
TABLE = {
    Emotion.HAPPY: (0.90, 0.50),
    Emotion.SAD: (-0.80, -0.50),
    Emotion.ANGRY: (-0.65, 0.50),
    Emotion.FEAR: (-0.70, 0.50),
    Emotion.DISGUST: (-0.65, 0.30),
    Emotion.SURPRISE: (0.30, 0.55),
    Emotion.NEUTRAL: (0.0, 0.0),
}


def now(of: Circumplex) -> tuple[float, float]:
    assert of.valence is not None
    assert of.arousal is not None
    return of.valence, of.arousal


def row(**shares: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([shares.get(e.value, 0.0) for e in EMOTIONS], np.float32)


# One euro


def test_the_first_sample_passes() -> None:
    smooth = OneEuro(0.3, 0.05)
    assert smooth.value is None
    assert smooth(3.0, 0.7) == 0.7


def test_a_constant_stays() -> None:
    smooth = OneEuro(0.3, 0.05)
    assert {smooth(k / 10, 0.4) for k in range(50)} == {0.4}


@pytest.mark.parametrize("dt", [0.01, 0.2, 2.0])
def test_without_beta_a_step_is_a_first_order_low_pass(dt: float) -> None:
    smooth = OneEuro(0.3, 0.0)
    smooth(0.0, 0.0)
    assert smooth(dt, 1.0) == pytest.approx(1 - exp(-2 * pi * 0.3 * dt))


def test_without_beta_the_frame_rate_does_not_matter() -> None:
    slow, fast = OneEuro(0.3, 0.0), OneEuro(0.3, 0.0)
    for smooth in (slow, fast):
        smooth(0.0, 0.0)
    for k in range(1, 31):
        fast(k / 30, 1.0)
    assert slow(1.0, 1.0) == pytest.approx(fast.value)


def test_fast_signals_are_followed_sooner() -> None:
    calm, prompt = OneEuro(0.3, 0.0), OneEuro(0.3, 1.0)
    for smooth in (calm, prompt):
        smooth(0.0, 0.0)
    assert prompt(0.1, 1.0) > 1.5 * calm(0.1, 1.0)


def test_the_cutoff_grows_with_the_filtered_speed() -> None:
    smooth = OneEuro(0.3, 0.5, derivative_cutoff_hz=1.0)
    smooth(0.0, 0.0)
    speed = (1 - exp(-2 * pi * 1.0 * 0.1)) * 10  # from 0 to 1 in .1 s, low-passed at 1 Hz
    assert smooth(0.1, 1.0) == pytest.approx(1 - exp(-2 * pi * (0.3 + 0.5 * speed) * 0.1))


def test_noise_is_smoothed() -> None:
    rng = np.random.default_rng(0)
    smooth = OneEuro(0.3, 0.05)
    noise = rng.normal(0, 0.2, 600)
    filtered = [smooth(k / 30, x) for k, x in enumerate(noise)]
    assert np.std(filtered[60:]) < 0.3 * np.std(noise)


@pytest.mark.parametrize("t", [1.0, 0.5])
def test_a_sample_without_time_changes_nothing(t: float) -> None:
    smooth = OneEuro(0.3, 0.05)
    smooth(1.0, 0.2)
    assert smooth(t, 0.9) == 0.2
    assert smooth(1.5, 0.2) == pytest.approx(0.2)


# Valence and arousal


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_a_sure_emotion_has_its_own_values(emotion: Emotion) -> None:
    np.testing.assert_allclose(Circumplex(SETTINGS).of(row(**{emotion.value: 1.0})), TABLE[emotion], atol=1e-6)


def test_a_mixture_is_the_weighted_mean() -> None:
    found = Circumplex(SETTINGS).of(row(happy=0.5, sad=0.25, neutral=0.25))
    np.testing.assert_allclose(found, [0.45 - 0.2, 0.25 - 0.125], atol=1e-6)


def test_before_the_first_face_there_is_neither() -> None:
    circumplex = Circumplex(SETTINGS)
    assert (circumplex.valence, circumplex.arousal) == (None, None)


def test_the_first_face_counts_at_once_and_later_ones_smoothly() -> None:
    circumplex = Circumplex(SETTINGS)
    circumplex.observe(0.0, row(happy=1.0))
    assert now(circumplex) == pytest.approx((0.9, 0.5))
    circumplex.observe(0.1, row(sad=1.0))
    assert circumplex.valence is not None
    assert 0.2 < circumplex.valence < 0.8
    for k in range(2, 200):
        circumplex.observe(k / 10, row(sad=1.0))
    assert now(circumplex) == pytest.approx((-0.8, -0.5), abs=0.01)


def test_the_persons_rest_is_subtracted() -> None:
    circumplex = Circumplex(SETTINGS)
    circumplex.observe(0.0, row(sad=0.5, neutral=0.5), np.array([-0.3, -0.1], np.float32))
    assert now(circumplex) == pytest.approx((-0.1, -0.15))


def test_values_stay_within_one() -> None:
    circumplex = Circumplex(SETTINGS)
    circumplex.observe(0.0, row(happy=1.0), np.array([-0.8, -0.9], np.float32))
    assert (circumplex.valence, circumplex.arousal) == (1.0, 1.0)
    other = Circumplex(SETTINGS)
    other.observe(0.0, row(sad=1.0), np.array([0.9, 0.9], np.float32))
    assert (other.valence, other.arousal) == (-1.0, -1.0)
