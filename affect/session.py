"""One learner's session without any door: tracker, learner model, event numbers. Socket, file and host share it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

from affect.cloudevents import CloudEvent, EventNumbering, describe_model, fingerprint
from affect.errors import AffectError
from affect.fits import new_estimator
from affect.labels import LearnerState, OffsetReason
from affect.learner.estimator import Estimator
from affect.learner.model import LearnerModel
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.types import Estimate, FrameFaces, LearnerEvent, Observation
from affect.vision.tracking import Tracker

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class LearnerSession:
    """The state of one learner; frames must come in order of time."""

    name: str
    tracker: Tracker
    model: LearnerModel
    numbering: EventNumbering
    fresh_estimator: Callable[[], Estimator]
    estimate: Estimate | None = None

    def observe(self, frame: FrameFaces) -> tuple[Observation, list[CloudEvent]]:
        """Take one frame's faces.

        Raises:
            AffectError: The learner model failed on them: an estimator plugin may raise anything.
        """
        observation = self._ask(lambda: self.model.observe(frame))
        self.estimate = observation.estimate
        return observation, self._wrap(observation.events)

    def host(self, t: float, kind: str) -> list[CloudEvent]:
        """Take host evidence.

        Raises:
            ProtocolError: The estimator knows no such kind.
            AffectError: The learner model failed; as in `correct` and `tick`.
        """
        return self._take(self._ask(lambda: self.model.host(t, kind)))

    def correct(self, t: float, state: LearnerState) -> list[CloudEvent]:
        """Take somebody's word for the true state."""
        return self._take(self._ask(lambda: self.model.correct(t, state)))

    def tick(self, t: float) -> list[CloudEvent]:
        """Let time pass without a frame."""
        return self._take(self._ask(lambda: self.model.tick(t)))

    def end(self, reason: OffsetReason, t: float | None = None) -> list[CloudEvent]:
        """Close all open states."""
        return self._wrap(self.model.end(reason, t))

    def revoke(self, t: float) -> list[CloudEvent]:
        """End open states because consent was revoked, and forget what was told: belief, baseline, tracks.

        Raises:
            AffectError: The estimator could not be made anew.
        """
        estimator = self._ask(self.fresh_estimator)
        events = self.end(OffsetReason.CONSENT_REVOKED, t)
        self.estimate = None
        self.tracker = self.tracker.anew()
        self.model.forget(estimator)
        return events

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except AffectError:
            raise
        except Exception as exc:
            log.exception("session %s: the learner model failed", self.name)
            raise AffectError(f"learner model: {type(exc).__name__}: {exc}") from exc

    def _take(self, answer: tuple[Estimate, list[LearnerEvent]]) -> list[CloudEvent]:
        self.estimate, events = answer
        return self._wrap(events)

    def _wrap(self, events: list[LearnerEvent] | tuple[LearnerEvent, ...]) -> list[CloudEvent]:
        return [self.numbering.wrap(event) for event in events]


def new_session(name: str, settings: Settings, host: PluginHost, *, phase: float | None = None) -> LearnerSession:
    """Start a session.

    Args:
        name: In its events.
        settings: Everything.
        host: The plugins.
        phase: 0-1, see `Tracker`; by default sessions that start together look for faces at different times.

    Raises:
        AffectError: The estimator is unknown or could not be created.
    """
    vision = settings.vision
    # Another face is followed only after absence was told: what was open does not pass on to somebody else.
    vision = vision.model_copy(update={"switch_s": max(vision.switch_s, settings.learner.absent_s)})
    return LearnerSession(
        name=name,
        tracker=Tracker(vision, phase=_phase_of(name) if phase is None else phase),
        model=LearnerModel(settings.learner, new_estimator(settings, host)),
        fresh_estimator=lambda: new_estimator(settings, host),
        numbering=EventNumbering(name, describe_model(settings), fingerprint(settings)),
    )


def _phase_of(name: str) -> float:
    """Return a phase that differs from session to session; a name may come from a file's, in any encoding."""
    return (crc32(name.encode(errors="surrogateescape")) % 1000) / 1000
