"""The learner model of one session: presence, estimator, valence and arousal, event policy, in that order."""

from dataclasses import replace

import numpy as np

from affect.errors import AffectError
from affect.labels import STATES, Evidence, LearnerState, OffsetReason, Presence
from affect.learner.circumplex import Circumplex
from affect.learner.estimator import Estimator, HasBaseRates
from affect.learner.events import EventPolicy
from affect.learner.evidence import face_evidence
from affect.settings.learner import LearnerSettings
from affect.types import Estimate, FloatArray, FrameFaces, LearnerEvent, Observation

CORRECTED = "corrected"
"""Phase of the event that records a correction; it is neither onset nor offset."""


class LearnerModel:
    """Takes what vision saw, in order of time, and returns observations with events.

    Args:
        settings: Thresholds and tables.
        estimator: A fresh estimator of this session's own.
    """

    def __init__(self, settings: LearnerSettings, estimator: Estimator) -> None:
        self.settings = settings
        rates = estimator.base_rates if isinstance(estimator, HasBaseRates) else None
        self.policy = EventPolicy(settings.events, rates)
        self._t = float("-inf")
        self.forget(estimator)

    def forget(self, estimator: Estimator) -> None:
        """Begin anew with a fresh estimator, as if nobody had been seen; the clock and cool-downs go on."""
        self.estimator = estimator
        self._circumplex = Circumplex(self.settings.circumplex)
        self._presence = Presence.UNKNOWN
        self._face_t: float | None = None
        self._face_id: int | None = None
        self._missed = False
        self.policy.forget()
        self._looking_t: float | None = None
        self._evidence_t = float("-inf")

    @property
    def t(self) -> float:
        """Time of the last thing taken, seconds; minus infinity before the first."""
        return self._t

    @property
    def evidence_t(self) -> float:
        """When a face could be read or the host told something, seconds; minus infinity before the first time."""
        return self._evidence_t

    def observe(self, frame: FrameFaces) -> Observation:
        """Take one frame's faces; a frame older than the last one counts as of the last one's time.

        What is returned, and may be kept, has no embeddings any more: they identify people.
        """
        t = self._time(frame.t)
        if self._looking_t is None:
            self._looking_t = t
        face = frame.learner
        before: list[LearnerEvent] = []
        if face is not None:
            other = self._missed or face.track_id != self._face_id
            if other and self._presence is Presence.PRESENT and self._present(t) is Presence.ABSENT:
                before = self.tick(t)[1]  # nothing told the time meanwhile
            self._face_t, self._face_id, self._missed = t, face.track_id, False
        else:
            self._missed = True
        evidence = face_evidence(face, self.settings)
        if evidence is None:
            states = self.estimator.advance(t)
        else:
            states = self.estimator.observe(t, evidence)
            self._circumplex.observe(t, evidence.probabilities, self._rest())
        estimate, events = self._conclude(t, states, Evidence.NONE if evidence is None else Evidence.FACE)
        return Observation(_without_embeddings(frame), estimate, (*before, *events))

    def host(self, t: float, kind: str) -> tuple[Estimate, list[LearnerEvent]]:
        """Take evidence of the host (an answer, a hint request, …).

        Raises:
            ProtocolError: The estimator knows no such kind.
        """
        t = self._time(t)
        return self._conclude(t, self.estimator.host(t, kind), Evidence.HOST)

    def correct(self, t: float, state: LearnerState) -> tuple[Estimate, list[LearnerEvent]]:
        """Take the learner's or tutor's word for the true state; recorded as an event of its own."""
        t = self._time(t)
        estimate, events = self._conclude(t, self.estimator.correct(t, state), Evidence.HOST, state)
        return estimate, [_plain_event(state.value, CORRECTED, estimate, t), *events]

    def tick(self, t: float) -> tuple[Estimate, list[LearnerEvent]]:
        """Let time pass without a frame, so that a dead camera ends states and presence too."""
        t = self._time(t)
        return self._conclude(t, self.estimator.advance(t), Evidence.NONE)

    def end(self, reason: OffsetReason, t: float | None = None) -> list[LearnerEvent]:
        """Close all open states."""
        return self.policy.close(self._t if t is None else self._time(t), reason)

    def _time(self, t: float) -> float:
        self._t = max(self._t, t)
        return self._t

    def _rest(self) -> FloatArray | None:
        """Valence and arousal of the person's neutral, as far as it is known."""
        if self.estimator.rest is None:
            return None
        mean, strength = self.estimator.rest
        return np.asarray(self._circumplex.of(mean) * strength, np.float32)

    def _conclude(
        self, t: float, states: FloatArray, evidence: Evidence, corrected: LearnerState | None = None
    ) -> tuple[Estimate, list[LearnerEvent]]:
        states = np.asarray(states, np.float32)
        if states.shape != (len(STATES),) or not np.isfinite(states).all():
            raise AffectError(f"the estimator answered {states}, expected {len(STATES)} finite probabilities")
        if evidence is not Evidence.NONE:
            self._evidence_t = t
        before = self._presence
        self._presence = self._present(t)
        estimate = Estimate(t, states, self._circumplex.valence, self._circumplex.arousal, self._presence, evidence)
        events: list[LearnerEvent] = []
        if self._presence is not before:
            since = t if self._face_t is None else self._face_t
            events.append(_plain_event("presence", self._presence.value, estimate, since))
        if self._presence is Presence.ABSENT:
            # Nobody there: what was open ends, and nothing begins on the drift of the belief alone.
            events[:0] = self.policy.close(t, OffsetReason.FACE_LOST)
        elif evidence is Evidence.NONE and t - self._evidence_t >= self.settings.blind_s:
            events += self.policy.close(t, OffsetReason.NO_EVIDENCE)
        elif evidence is not Evidence.NONE or t - self._evidence_t >= self.settings.hold_s:
            events += self.policy.step(estimate, corrected)
        return estimate, events

    def _present(self, t: float) -> Presence:
        if self._looking_t is None:
            return Presence.UNKNOWN  # without a camera nobody knows
        if self._face_t is None:
            return Presence.ABSENT if t - self._looking_t >= self.settings.absent_s else Presence.UNKNOWN
        if t - self._face_t >= self.settings.absent_s:
            return Presence.ABSENT
        return Presence.PRESENT


def _without_embeddings(frame: FrameFaces) -> FrameFaces:
    if all(face.embedding is None for face in frame.faces):
        return frame
    return replace(frame, faces=tuple(replace(face, embedding=None) for face in frame.faces))


def _plain_event(kind: str, phase: str, estimate: Estimate, t_start: float) -> LearnerEvent:
    """Return an event without onset and offset: a change of presence or a correction."""
    return LearnerEvent(
        kind=kind,
        phase=phase,
        confidence=1.0,
        t=estimate.t,
        t_start=t_start,
        t_end=None,
        reason=None,
        states=estimate.state_map(),
        valence=estimate.valence,
        arousal=estimate.arousal,
        evidence=estimate.evidence.value,
    )
