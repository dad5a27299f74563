"""How learner states follow each other: a reversible continuous-time Markov chain and its transition matrix."""

import numpy as np
from numpy.typing import NDArray

from affect.errors import SettingsError
from affect.labels import STATES
from affect.settings.learner import HmmSettings

Floats = NDArray[np.float64]

_TOLERANCE = 0.01
"""By how much, as a share, the rate of leaving a state may miss the wanted one."""


def stationary(settings: HmmSettings) -> Floats:
    """Return the base rates [7], normalised, in the order of `STATES`."""
    pi = np.array([settings.base_rates[s] for s in STATES], np.float64)
    return np.asarray(pi / pi.sum())


def rate_matrix(settings: HmmSettings, iterations: int = 500) -> Floats:
    """Build the generator Q [7, 7] (rows sum to 0) with the wanted base rates and half-lives.

    The flux from i to j is d_i A_ij d_j (A: affinities, symmetric), scaled by Sinkhorn's method so that state i is
    left at the rate ln 2 / half-life: sum_j flux_ij = pi_i ln 2 / h_i. A symmetric flux makes pi stationary.

    Raises:
        SettingsError: No such chain exists: a state is so common and short that the others are not left often enough
            to fill it again. Names the state.
    """
    pi = stationary(settings)
    out = pi * np.log(2) / np.array([settings.half_lives_s[s] for s in STATES], np.float64)
    flux = np.ones((len(STATES), len(STATES)))
    for pair, value in settings.affinities.items():
        i, j = (STATES.index(next(s for s in STATES if s == name)) for name in pair.split("-"))
        flux[i, j] = flux[j, i] = value
    np.fill_diagonal(flux, 0.0)
    d = np.sqrt(out)
    for _ in range(iterations):  # the square root damps the symmetric iteration, which oscillates otherwise
        d = np.sqrt(d * out / (flux @ d))
    flux = d[:, None] * flux * d[None, :]
    gap = np.abs(flux.sum(axis=1) / out - 1)
    if not gap.max() < _TOLERANCE:
        common = STATES[int(np.argmax(out))]
        raise SettingsError(
            f"plugins.hmm: base_rates, half_lives_s and affinities cannot hold together (a half-life would be off by "
            f"{gap.max():.0%}); raise half_lives_s.{common} or lower base_rates.{common}"
        )
    q = flux / pi[:, None]
    np.fill_diagonal(q, -q.sum(axis=1))
    return np.asarray(q)


class Dynamics:
    """Transition probabilities of a reversible chain over any time span, by one eigendecomposition.

    Args:
        q: Generator [7, 7].
        pi: Stationary distribution [7], for which q is reversible.
    """

    def __init__(self, q: Floats, pi: Floats) -> None:
        root = np.sqrt(pi)
        symmetric = root[:, None] * q / root[None, :]
        self._values, vectors = np.linalg.eigh((symmetric + symmetric.T) / 2)
        self._left = vectors / root[:, None]
        self._right = (vectors * root[:, None]).T

    def transition(self, dt_s: float) -> Floats:
        """Return P(dt) = expm(Q dt) [7, 7]; rows sum to 1."""
        p = (self._left * np.exp(self._values * max(dt_s, 0.0))) @ self._right
        p = np.clip(p, 0.0, None)
        return np.asarray(p / p.sum(axis=1, keepdims=True))
