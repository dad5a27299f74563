"""What an estimator is, and the default one: the forward filter of a continuous-time hidden Markov model."""

from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from affect.errors import ErrorCode, ProtocolError
from affect.labels import EMOTIONS, STATES, LearnerState
from affect.learner.baseline import PersonBaseline
from affect.learner.dynamics import Dynamics, rate_matrix, stationary
from affect.learner.evidence import FaceEvidence
from affect.learner.heads import BackendFit
from affect.settings.learner import HmmSettings
from affect.types import FloatArray

Floats = NDArray[np.float64]
_TABLE_FIELDS = set(HmmSettings.model_fields)


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


@runtime_checkable
class Adopts(Protocol):
    """An estimator that makes use of what was fitted for the backend. An optional part of the interface."""

    def adopt(self, fit: BackendFit) -> None:
        """Take the fit, before the first evidence."""
        ...


@runtime_checkable
class HasBaseRates(Protocol):
    """An estimator whose belief drifts to base rates without evidence. An optional part of the interface."""

    @property
    def base_rates(self) -> dict[LearnerState, float]:
        """Long-run share of each state."""
        ...


class HmmEstimator:
    """Forward filter: f <- f expm(Q dt), f <- f * L, normalise.

    A calibrated p_k is proportional to P(face | emotion k) m_k, where m are the class shares of the calibration data,
    so the likelihood of a state is L_s = (sum_k E[s, k] p_k / m_k) ** kappa. (A mean of logarithms,
    sum_k p_k log E[s, k], takes the classifier's doubt for a mixed expression; see docs/learner-model.md.)
    Neighbouring frames are nearly the same picture, so kappa = min(1, dt / tau_c) tempers them: tau_c seconds of
    frames, however many, weigh as one observation. One picture alone counts for `frame_s` at most.
    """

    def __init__(self, settings: HmmSettings) -> None:
        self.settings = settings
        self._tables = _tables(settings.model_dump_json(include=_TABLE_FIELDS))
        self._belief = self._tables.prior.copy()
        self._t: float | None = None
        self._face_t: float | None = None
        self._host_t: dict[str, float] = {}
        self.baseline = self._new_baseline()

    def adopt(self, fit: BackendFit) -> None:
        """Take the backend's emission matrix, unless the settings name one. Before the first face."""
        if "emission" not in self.settings.model_fields_set:
            changed = self.settings.model_copy(update={"emission": fit.facts.emission})
            self._tables = _tables(changed.model_dump_json(include=_TABLE_FIELDS))
            self.baseline = self._new_baseline()

    def _new_baseline(self) -> PersonBaseline:
        return PersonBaseline(
            self._tables.prior @ self._tables.emission,
            length_s=self.settings.baseline_s,
            weight=self.settings.baseline_weight,
            prior_s=self.settings.baseline_prior_s,
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
        if np.isfinite(since):
            self.baseline.add(np.asarray(face.probabilities, np.float64), since)
        return self._weigh(self._log_likelihood(face, min(since, self.settings.frame_s)))

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
        named = STATES.index(state)
        report[named] = np.log(self.settings.correction_factor)
        self._weigh(report)
        least = self.settings.correction_least
        if self._belief[named] < least:
            self._belief *= (1 - least) / (1 - self._belief[named])
            self._belief[named] = least
        return self._belief.astype(np.float32)

    @property
    def base_rates(self) -> dict[LearnerState, float]:
        """Long-run share of each state: what the belief drifts to."""
        return {state: float(share) for state, share in zip(STATES, self._tables.prior, strict=True)}

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of host evidence, sorted."""
        return tuple(sorted(self._tables.log_host))

    @property
    def rest(self) -> tuple[FloatArray, float] | None:
        """The person's baseline so far."""
        return self.baseline.mean.astype(np.float32), self.baseline.strength

    def _log_likelihood(self, face: FaceEvidence, since_s: float) -> Floats:
        """Return what a face says of each state [7], tempered by how much later it is than the last one."""
        return min(1.0, since_s / self.settings.tau_c_s) * np.log(self._emitted(face))

    def _emitted(self, face: FaceEvidence) -> Floats:
        """Return the likelihood of each state [7] by the emission matrix, up to a common factor."""
        p = np.asarray(face.probabilities, np.float64)
        return np.asarray(self._tables.emission @ (self.baseline.correct(p) / self._tables.shares))

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
