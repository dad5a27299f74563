"""Learner events as CloudEvents 1.0 JSON objects: the same object on the socket, in files and in sinks."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from affect.settings import Settings
from affect.types import LearnerEvent
from affect.version import __version__

TYPE_PREFIX = "org.tutor-affect.learner"


class EventData(BaseModel):
    """What a learner event says. Times are seconds on the clock of the frames."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    state: str = Field(description="A learner state, or `presence`.")
    phase: str = Field(description="onset | update | offset | corrected; for presence: present | absent.")
    confidence: float = Field(ge=0, le=1, description="Probability of the state.")
    states: dict[str, float] = Field(description="The whole distribution over learner states.")
    valence: float | None
    arousal: float | None
    t: float = Field(description="When the event was made.")
    t_start: float = Field(description="Since when the state has held.")
    t_end: float | None = Field(description="When it ended; only in an offset.")
    reason: str | None = Field(
        description="Why it ended: decay | face_lost | no_evidence | consent_revoked | session_end."
    )
    evidence: str = Field(description="face | host | none")
    model: str = Field(description="Backend, estimator and version.")
    config: str = Field(description="Fingerprint of the effective learner settings.")
    seq: int = Field(ge=1, description="Number of the event within its session.")


class CloudEvent(BaseModel):
    """CloudEvents 1.0, JSON format."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str = Field(description="The session.")
    time: str = Field(description="RFC 3339, wall clock of the service.")
    datacontenttype: Literal["application/json"] = "application/json"
    data: EventData


def describe_model(settings: Settings) -> str:
    """Return backend, estimator and version in one word each."""
    return f"{settings.inference.backend_word}+{settings.learner.estimator}/{__version__}"


def fingerprint(settings: Settings) -> str:
    """Return twelve hex digits that change when a learner setting, a plugin setting or the backend does."""
    parts = (
        settings.learner.model_dump_json(),
        settings.plugins.model_dump_json(),
        settings.inference.backend,
        settings.vision.detector,
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@dataclass(slots=True)
class EventNumbering:
    """Numbers the events of one session and wraps them.

    Args:
        session: The session's name.
        model: See `describe_model`.
        config: See `fingerprint`.
    """

    session: str
    model: str
    config: str
    seq: int = 0
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def wrap(self, event: LearnerEvent) -> CloudEvent:
        """Return the event's CloudEvents object under the next number."""
        self.seq += 1
        return CloudEvent(
            id=f"{self.run}-{self.seq}",
            source=f"/tutor-affect/sessions/{self.session}",
            type=f"{TYPE_PREFIX}.{event.kind}.{event.phase}.v1",
            subject=self.session,
            time=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            data=EventData(
                state=event.kind,
                phase=event.phase,
                confidence=event.confidence,
                states=_rounded(event.states),
                valence=event.valence,
                arousal=event.arousal,
                t=event.t,
                t_start=event.t_start,
                t_end=event.t_end,
                reason=event.reason,
                evidence=event.evidence,
                model=self.model,
                config=self.config,
                seq=self.seq,
            ),
        )


def _rounded(states: Mapping[str, float]) -> dict[str, float]:
    return {name: round(p, 5) for name, p in states.items()}
