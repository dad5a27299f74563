"""Valence and arousal from emotion probabilities, smoothed by a one-euro filter (Casiez, Roussel & Vogel 2012)."""

from math import exp, pi

import numpy as np

from affect.labels import EMOTIONS
from affect.settings.learner import CircumplexSettings
from affect.types import FloatArray


class OneEuro:
    """Low-pass filter whose cut-off grows with speed: calm signals are smooth, fast ones prompt.

    Args:
        min_cutoff_hz, beta, derivative_cutoff_hz: As in the paper.
    """

    def __init__(self, min_cutoff_hz: float, beta: float, derivative_cutoff_hz: float = 1.0) -> None:
        self._min_cutoff, self._beta, self._derivative_cutoff = min_cutoff_hz, beta, derivative_cutoff_hz
        self._t: float | None = None
        self.value: float | None = None
        self._speed = 0.0

    def __call__(self, t: float, x: float) -> float:
        """Take a sample at `t` seconds; return the filtered value."""
        if self._t is None or self.value is None:
            self._t, self.value = t, x
            return x
        dt = t - self._t
        if dt <= 0:
            return self.value
        self._speed += _alpha(self._derivative_cutoff, dt) * ((x - self.value) / dt - self._speed)
        cutoff = self._min_cutoff + self._beta * abs(self._speed)
        self.value += _alpha(cutoff, dt) * (x - self.value)
        self._t = t
        return self.value


def _alpha(cutoff_hz: float, dt: float) -> float:
    # Exact for a first-order low-pass over any dt; the paper's tau/dt form is its small-dt limit.
    return 1 - exp(-2 * pi * cutoff_hz * dt)


class Circumplex:
    """Smoothed valence and arousal of one session."""

    def __init__(self, settings: CircumplexSettings) -> None:
        self._table = np.array([[settings.valence[e], settings.arousal[e]] for e in EMOTIONS], np.float64)
        self._filters = tuple(
            OneEuro(settings.min_cutoff_hz, settings.beta, settings.derivative_cutoff_hz) for _ in range(2)
        )

    def of(self, probabilities: FloatArray) -> FloatArray:
        """Return unsmoothed (valence, arousal): the probability-weighted mean of the emotions' values."""
        return np.asarray(probabilities @ self._table, np.float32)

    def observe(self, t: float, probabilities: FloatArray, rest: FloatArray | None = None) -> None:
        """Take a face; `rest` is the (valence, arousal) of the person's neutral, which is subtracted."""
        values = self.of(probabilities) - (0 if rest is None else rest)
        for smooth, value in zip(self._filters, values, strict=True):
            smooth(t, float(value))

    @property
    def valence(self) -> float | None:
        """-1..1, or None before the first face."""
        return self._clipped(0)

    @property
    def arousal(self) -> float | None:
        """-1..1, or None before the first face."""
        return self._clipped(1)

    def _clipped(self, k: int) -> float | None:
        value = self._filters[k].value
        return None if value is None else max(-1.0, min(1.0, value))
