"""Making probabilities mean what they say: temperature and power, fitted on labelled faces, applied and taken back."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from affect.inference.calibration import MIN_SURPRISAL
from affect.types import Calibration
from affect_training.evaluation.metrics import Floats, Labels, nll, softmax

TEMPERATURES = (0.2, 8.0)
"""Between these a temperature alone is sought."""

RAISED_TEMPERATURES, POWERS = (0.02, 50.0), (0.25, 4.0)
"""Between these temperature and power are sought together; a high power has a high temperature."""

POWER_SPREAD = 0.5
"""Powers are taken to be normal in their logarithm with this deviation around 1: it decides where there are tens of
faces, and nothing where there are thousands."""

_SMALLEST = 1e-45
"""Of float32; a probability served as 0 was not below."""


def calibrated(outputs: Floats, calibration: Calibration) -> Floats:
    """Return the probabilities [N, K] of outputs [N, K]."""
    if calibration.power == 1:
        return softmax(outputs, calibration.temperature)
    return softmax(-(_surprisal(outputs) ** calibration.power), calibration.temperature)


def uncalibrated(probabilities: Floats, calibration: Calibration) -> Floats:
    """Return the softmax [N, K] of the outputs that became these probabilities [N, K]."""
    log = np.log(np.clip(probabilities, _SMALLEST, None))
    if calibration.power == 1:
        return softmax(log, 1 / calibration.temperature)
    # surprisal ** power is known but for what is added to all of a face: so much that the softmax sums to 1
    energy = -log * calibration.temperature
    most = energy.min(axis=1, keepdims=True)
    least = most - np.log(log.shape[1]) ** calibration.power
    for _ in range(60):
        middle = (least + most) / 2
        sums = np.exp(-(np.clip(energy - middle, 0, None) ** (1 / calibration.power))).sum(axis=1, keepdims=True)
        least, most = np.where(sums < 1, middle, least), np.where(sums < 1, most, middle)
    found = np.exp(-(np.clip(energy - most, 0, None) ** (1 / calibration.power)))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """Temperature that minimises the NLL (Guo et al. 2017), by golden-section search on its logarithm."""
    low, high = np.log(TEMPERATURES)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if nll(softmax(logits, np.exp(a)), labels) < nll(softmax(logits, np.exp(b)), labels):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def fit_calibration(outputs: Floats, labels: Labels) -> Calibration:
    """Temperature and power that minimise the NLL together, `POWER_SPREAD` in mind, by L-BFGS on their logarithms.

    Args:
        outputs: Of the network, [N, K].
        labels: The truth [N].
    """
    surprisal = _surprisal(outputs)
    log_surprisal, rows = np.log(surprisal), np.arange(len(labels))

    def loss(numbers: Floats) -> tuple[float, Floats]:
        temperature, power = np.exp(numbers)
        energy = surprisal**power / temperature
        least = energy.min(axis=1, keepdims=True)
        log = least - energy - np.log(np.exp(least - energy).sum(axis=1, keepdims=True))
        slope = -np.exp(log)  # of the loss by `energy`, one face at a time
        slope[rows, labels] += 1
        by_power = (slope * energy * log_surprisal).sum() * power
        unlikely = np.log(power) / POWER_SPREAD**2
        total = -log[rows, labels].sum() + unlikely * np.log(power) / 2
        return float(total) / len(labels), np.array([-(slope * energy).sum(), by_power + unlikely]) / len(labels)

    bounds = [tuple(np.log(RAISED_TEMPERATURES)), tuple(np.log(POWERS))]
    alone = Calibration(fit_temperature(outputs, labels))
    start = np.log([alone.temperature, 1.0])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    if not np.isfinite(found.x).all() or not found.fun <= loss(start)[0]:
        return alone
    return Calibration(*(float(number) for number in np.exp(found.x)))


def cross_fitted(outputs: Floats, labels: Labels, *, power: bool = False) -> Floats:
    """Return probabilities [N, K] in which each half of the rows (even, odd) is calibrated by the other half.

    Args:
        outputs: [N, K], or [V, N, K] of V views: the calibration is fitted on the first, as an exported one is, and the
            answer is the mean over the views.
        labels: The truth [N], at least two.
        power: Fit a power too.
    """
    views = outputs.reshape(-1, *outputs.shape[-2:])
    even = np.arange(len(labels)) % 2 == 0
    probabilities = np.empty_like(views[0])
    for half in (even, ~even):
        shown, known = views[0, ~half], labels[~half]
        fitted = fit_calibration(shown, known) if power else Calibration(fit_temperature(shown, known))
        probabilities[half] = np.mean([calibrated(view[half], fitted) for view in views], axis=0)
    return np.asarray(probabilities)


def _surprisal(outputs: Floats) -> NDArray[np.float64]:
    """Return -log softmax [N, K], in nats, no smaller than what serving knows."""
    z = np.asarray(outputs, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return np.asarray(np.clip(np.log(np.exp(z).sum(axis=1, keepdims=True)) - z, MIN_SURPRISAL, None))
