"""The person's own neutral, learnt causally: how this face reads at rest, and what is usual for this person."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_FLOOR = 0.01  # no class of a baseline is believed rarer than this


class PersonBaseline:
    """Time-weighted mean of a person's emotion probabilities, frozen after `length_s` seconds of face.

    Args:
        population: What a person's mean is compared with, probabilities [7].
        length_s: Seconds of face that are averaged.
        weight: How far the baseline replaces the population in the end, 0-1.
        prior_s: Seconds of face at which half of `weight` is reached.
    """

    def __init__(self, population: Floats, *, length_s: float, weight: float, prior_s: float) -> None:
        self._population = np.asarray(population, np.float64)
        self._length_s, self._weight, self._prior_s = length_s, weight, prior_s
        self._sum = np.zeros_like(self._population)
        self.seconds = 0.0

    def add(self, probabilities: Floats, dt_s: float) -> None:
        """Take a face that stood for `dt_s` seconds; nothing more once the baseline is complete."""
        dt = min(dt_s, 1.0, self._length_s - self.seconds)
        if dt > 0:
            self._sum += dt * probabilities
            self.seconds += dt

    @property
    def strength(self) -> float:
        """How far the baseline counts now, 0-1."""
        return self._weight * self.seconds / (self.seconds + self._prior_s) if self.seconds else 0.0

    @property
    def mean(self) -> Floats:
        """The person's mean probabilities [7]; the population's before the first face."""
        return np.asarray(self._sum / self.seconds) if self.seconds else self._population

    def correct(self, probabilities: Floats) -> Floats:
        """Divide out what is usual for this person: p * (population / mean) ** strength, normalised."""
        ratio = np.maximum(self._population, _FLOOR) / np.maximum(self.mean, _FLOOR)
        corrected = probabilities * ratio**self.strength
        return np.asarray(corrected / corrected.sum())


class PastMean:
    """Mean of some values over a session's past, shrunk to zero while the past is short.

    Args:
        weight: How far a long past counts, 0-1.
        prior: Observations after which it counts half of that.
    """

    def __init__(self, *, weight: float, prior: float) -> None:
        self._weight, self._prior = weight, prior
        self._sum: Floats | None = None
        self.observations = 0.0

    def add(self, values: Floats, observations: float) -> None:
        """Take values that count as so many observations."""
        self._sum = values * observations if self._sum is None else self._sum + values * observations
        self.observations += observations

    @property
    def usual(self) -> Floats | float:
        """What is to be subtracted from the next values; zero before the first."""
        if self._sum is None or self.observations <= 0:
            return 0.0
        return self._weight * self._sum / (self.observations + self._prior)
