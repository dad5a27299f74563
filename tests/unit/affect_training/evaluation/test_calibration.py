"""Calibrations are those of least NLL, keep every guess, can be taken back, and are judged on other faces."""

import numpy as np
import pytest
import torch
from affect_training.evaluation import calibration, metrics
from affect_training.evaluation.calibration import (
    calibrated,
    cross_fitted,
    fit_calibration,
    fit_temperature,
    uncalibrated,
)
from affect_training.evaluation.metrics import Floats, Labels
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from affect.inference.calibration import power_scaled
from affect.inference.optional import calibration_of
from affect.testing import FakeBackend
from affect.types import Calibration


def labels(*numbers: int) -> Labels:
    return np.array(numbers, np.int64)


@pytest.fixture(scope="module")
def outputs() -> Floats:
    return np.random.default_rng(3).normal(0, 1.5, (8000, 7))


def drawn(probabilities: Floats, seed: int = 0) -> Labels:
    """Labels as often right as the probabilities say."""
    dice = np.random.default_rng(seed).random((len(probabilities), 1))
    return np.asarray((probabilities.cumsum(1) > dice).argmax(1), np.int64)


def test_the_temperature_is_the_one_that_minimises_the_nll() -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(0, 1, (400, 7))
    truth = np.array([rng.choice(7, p=p) for p in scipy_softmax(clean, axis=1)], np.int64)
    logits = clean * 3  # three times too sure
    best = minimize_scalar(
        lambda t: -log_softmax(logits / t, axis=1)[np.arange(400), truth].mean(),
        bounds=(0.2, 8),
        method="bounded",
    )
    found = fit_temperature(logits, truth)
    assert found == pytest.approx(best.x, rel=1e-3)
    assert found == pytest.approx(3, rel=0.15)


def test_the_temperature_stays_in_its_range() -> None:
    certain = np.eye(7) * 3.0
    assert fit_temperature(certain, labels(*range(7))) == pytest.approx(0.2, rel=0.01)
    assert fit_temperature(certain, labels(1, 2, 3, 4, 5, 6, 0)) == pytest.approx(8, rel=0.01)


def test_cross_fitting_judges_each_half_with_the_temperature_of_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The "temperature" of a half is its first label plus one: even rows 2, odd rows 4.
    monkeypatch.setattr(calibration, "fit_temperature", lambda _, labels: float(labels[0] + 1))
    logits = np.random.default_rng(0).normal(0, 3, (7, 5))
    found = cross_fitted(logits, labels(1, 3, 1, 3, 1, 3, 1))
    np.testing.assert_allclose(found[0::2], scipy_softmax(logits[0::2] / 4, axis=1))
    np.testing.assert_allclose(found[1::2], scipy_softmax(logits[1::2] / 2, axis=1))


@pytest.mark.parametrize(
    "known", [Calibration(t, p) for t, p in ((0.4, 1.0), (1.0, 1.0), (3.0, 1.0), (0.7, 0.6), (1.5, 1.4), (6.0, 3.2))]
)
def test_a_calibration_can_be_taken_back(outputs: Floats, known: Calibration) -> None:
    served = calibrated(outputs[:50] / 2, known).astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(uncalibrated(served, known), metrics.softmax(outputs[:50] / 2), atol=2e-5)


@pytest.mark.parametrize("true", [Calibration(0.7, 1.5), Calibration(1.3, 0.75), Calibration(1.0, 1.0)])
def test_temperature_and_power_are_found_again(outputs: Floats, true: Calibration) -> None:
    found = fit_calibration(outputs, drawn(calibrated(outputs, true)))
    assert found.temperature == pytest.approx(true.temperature, rel=0.12)
    assert found.power == pytest.approx(true.power, rel=0.1)


def test_few_faces_say_little_about_the_power(outputs: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = outputs[:12], np.tile(outputs[:12], (300, 1))
    truth = drawn(calibrated(few, Calibration(0.7, 2.5)))
    held = fit_calibration(few, truth).power
    monkeypatch.setattr(calibration, "POWER_SPREAD", 1e9)
    free = fit_calibration(few, truth).power
    assert abs(np.log(held)) < abs(np.log(free)) - 0.1
    monkeypatch.undo()
    assert fit_calibration(many, np.tile(truth, 300)).power == pytest.approx(free, rel=0.02)


def test_no_calibration_near_the_fitted_one_is_better(outputs: Floats) -> None:
    truth = drawn(calibrated(outputs, Calibration(0.7, 1.5)))
    found = fit_calibration(outputs, truth)
    best = metrics.nll(calibrated(outputs, found), truth)
    for factor in (0.95, 1.05):
        for other in (
            Calibration(found.temperature * factor, found.power),
            Calibration(found.temperature, found.power * factor),
        ):
            assert metrics.nll(calibrated(outputs, other), truth) > best


def test_a_power_mends_what_a_temperature_cannot(outputs: Floats) -> None:
    truth = drawn(calibrated(outputs, Calibration(0.7, 1.6)))
    crossed = {power: cross_fitted(outputs, truth, power=power) for power in (False, True)}
    assert metrics.nll(crossed[True], truth) < metrics.nll(crossed[False], truth)
    assert metrics.ece(crossed[True], truth) < metrics.ece(crossed[False], truth)


def test_a_power_keeps_the_order_of_the_emotions(outputs: Floats) -> None:
    found = calibrated(outputs, Calibration(2.0, 1.7))
    np.testing.assert_array_equal(found.argsort(axis=1)[:, -3:], outputs.argsort(axis=1)[:, -3:])


def test_calibrations_that_separate_everything_stay_in_their_range() -> None:
    certain = np.eye(7) * 3.0
    for truth in (labels(*range(7)), labels(1, 2, 3, 4, 5, 6, 0)):
        found = fit_calibration(certain, truth)
        assert (
            calibration.RAISED_TEMPERATURES[0] * 0.99 <= found.temperature <= calibration.RAISED_TEMPERATURES[1] * 1.01
        )
        assert calibration.POWERS[0] * 0.99 <= found.power <= calibration.POWERS[1] * 1.01


@pytest.mark.parametrize("power", [0.8, 1.0, 1.6])
def test_serving_says_the_same(outputs: Floats, power: float) -> None:
    served = (power_scaled(torch.from_numpy(outputs), power) / 1.3).softmax(1).numpy()
    np.testing.assert_allclose(served, calibrated(outputs, Calibration(1.3, power)), atol=2e-5)


def test_a_backend_without_a_sidecar_has_its_temperature_only() -> None:
    assert calibration_of(FakeBackend()) == Calibration(1.0, 1.0)
    assert (str(Calibration(1.2)), str(Calibration(1.2, 1.5))) == ("temperature 1.2", "temperature 1.2, power 1.5")
