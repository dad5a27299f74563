"""What an estimator is, and the default one: the forward filter of a continuous-time hidden Markov model."""

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from affect.errors import ErrorCode, ProtocolError
from affect.labels import EMOTIONS, STATES, LearnerState
from affect.learner.baseline import PersonBaseline
from affect.learner.dynamics import Dynamics, rate_matrix, stationary
from affect.learner.evidence import FaceEvidence
from affect.settings.learner import HmmSettings
from affect.types import FloatArray

Floats = NDArray[np.float64]


class Estimator(Protocol):
    """Belief about one learner over time. One object a session; times never go back."""

    def advance(self, t: float) -> FloatArray:
        """Let time pass without evidence; return the distribution [7] over `STATES`."""
        ...

    def observe(self, t: float, face: FaceEvidence) -> FloatArray:
        """Weigh a face seen at `t`; return the distribution [7]."""
        ...

    def host(self, t: float, kind: str) -> FloatArray:
        """Weigh what the host saw at `t`; return the distribution [7].

        Raises:
            ProtocolError: No such kind of evidence.
        """
        ...

    def correct(self, t: float, state: LearnerState) -> FloatArray:
        """Weigh that somebody who should know named the true state; return the distribution [7]."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of host evidence it knows."""
        ...

    @property
    def rest(self) -> tuple[FloatArray, float] | None:
        """The person's usual emotion probabilities [7] and how far they count, 0-1; None without a baseline."""
        ...


class HmmEstimator:
    """Forward filter: f <- f expm(Q dt), f <- f * L, normalise.

    A calibrated p_k is proportional to P(face | emotion k) m_k, where m are the class shares of the calibration data,
    so the likelihood of a state is L_s = (sum_k E[s, k] p_k / m_k) ** kappa. (A mean of logarithms,
    sum_k p_k log E[s, k], takes the classifier's doubt for a mixed expression; see docs/learner-model.md.)
    Neighbouring frames are nearly the same picture, so kappa = min(1, dt / tau_c) tempers them: tau_c seconds of
    frames, however many, weigh as one observation.
    """

    def __init__(self, settings: HmmSettings) -> None:
        self.settings = settings
        self._tables = _tables(settings.model_dump_json())
        self._belief = self._tables.prior.copy()
        self._t: float | None = None
        self._face_t: float | None = None
        self._host_t: dict[str, float] = {}
        self.baseline = PersonBaseline(
            self._tables.prior @ self._tables.emission,
            length_s=settings.baseline_s,
            weight=settings.baseline_weight,
            prior_s=settings.baseline_prior_s,
        )

    def advance(self, t: float) -> FloatArray:
        """Let time pass: the belief drifts to the base rates."""
        if self._t is not None and t > self._t:
            self._belief = self._belief @ self._tables.dynamics.transition(t - self._t)
        self._t = t if self._t is None else max(t, self._t)
        return self._belief.astype(np.float32)

    def observe(self, t: float, face: FaceEvidence) -> FloatArray:
        """Weigh a face by how much later it is than the last one."""
        self.advance(t)
        since = np.inf if self._face_t is None else max(t - self._face_t, 0.0)
        self._face_t = t
        p = np.asarray(face.probabilities, np.float64)
        if np.isfinite(since):
            self.baseline.add(p, since)
        kappa = min(1.0, since / self.settings.tau_c_s)
        likelihood = self._tables.emission @ (self.baseline.correct(p) / self._tables.shares)
        return self._weigh(kappa * np.log(likelihood))

    def host(self, t: float, kind: str) -> FloatArray:
        """Weigh host evidence; the same kind again within `tau_host_s` counts in proportion."""
        if kind not in self._tables.log_host:
            known = ", ".join(sorted(self._tables.log_host))
            raise ProtocolError(f"no evidence kind {kind!r}; known: {known}", code=ErrorCode.UNKNOWN_NAME)
        self.advance(t)
        since = t - self._host_t.get(kind, -np.inf)
        self._host_t[kind] = t
        return self._weigh(min(1.0, max(since, 0.0) / self.settings.tau_host_s) * self._tables.log_host[kind])

    def correct(self, t: float, state: LearnerState) -> FloatArray:
        """Weigh a report of the true state by `correction_factor`; it is no measurement, so it is not tempered."""
        self.advance(t)
        report = np.zeros(len(STATES))
        report[STATES.index(state)] = np.log(self.settings.correction_factor)
        return self._weigh(report)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of host evidence, sorted."""
        return tuple(sorted(self._tables.log_host))

    @property
    def rest(self) -> tuple[FloatArray, float] | None:
        """The person's baseline so far."""
        return self.baseline.mean.astype(np.float32), self.baseline.strength

    def _weigh(self, log_likelihood: Floats) -> FloatArray:
        weighed = self._belief * np.exp(log_likelihood - log_likelihood.max())
        self._belief = weighed / weighed.sum()
        return self._belief.astype(np.float32)


class _Tables:
    """What all sessions with the same settings share."""

    def __init__(self, settings: HmmSettings) -> None:
        self.prior = stationary(settings)
        self.dynamics = Dynamics(rate_matrix(settings), self.prior)
        rows = np.array([settings.emission[s] for s in STATES], np.float64)
        self.emission: Floats = rows / rows.sum(axis=1, keepdims=True)
        shares = np.maximum([settings.class_shares[e] for e in EMOTIONS], settings.min_share)
        self.shares: Floats = shares / shares.sum()
        self.log_host = {
            kind: np.log(np.array([row[s] for s in STATES], np.float64)) for kind, row in settings.host_evidence.items()
        }


@lru_cache(maxsize=32)
def _tables(settings_json: str) -> _Tables:
    return _Tables(HmmSettings.model_validate_json(settings_json))
