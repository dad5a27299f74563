"""One session of the service: mailbox, consent, clock, event ring, and the sockets that listen.

All methods run on the event loop. A session outlives its sockets for a while, so that they can resume.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from affect.cloudevents import CloudEvent
from affect.errors import AffectError, ErrorCode, FrameError, PolicyError
from affect.labels import Evidence as EvidenceLabel
from affect.labels import LearnerState, OffsetReason, Presence
from affect.pipeline import FrameEngine, FrameJob
from affect.service.bucket import TokenBucket
from affect.service.clock import SessionClock
from affect.service.messages import observation_message
from affect.service.protocol import (
    CloseCode,
    Error,
    Event,
    Flow,
    FrameHeader,
    Latency,
    OpenState,
    ServerMessage,
    Snapshot,
    Status,
)
from affect.session import LearnerSession
from affect.settings.service import ServiceSettings
from affect.types import Frame

_FLOW_INTERVAL_S = 1.0
_TICK_AFTER_S = 1.0
_OF_THE_PICTURE = {
    ErrorCode.BAD_IMAGE, ErrorCode.UNSUPPORTED_MEDIA, ErrorCode.IMAGE_TOO_LARGE, ErrorCode.IMAGE_TOO_SMALL,
}  # fmt: skip
_STUCK_S = 5.0  # an engine that answers nothing for so long does not stop the time


class Listener(Protocol):
    """A socket as its session sees it."""

    def take(self, message: ServerMessage) -> None:
        """Queue a message for it."""
        ...

    def finish(self, code: CloseCode, reason: str) -> None:
        """Send what is queued, then close it."""
        ...


class ServiceSession:
    """A learner's session behind the socket.

    Args:
        learner: The session proper.
        engine: Where frames go.
        settings: Limits and intervals.
        publish: Takes every event once; to sinks.
    """

    def __init__(
        self,
        learner: LearnerSession,
        engine: FrameEngine,
        settings: ServiceSettings,
        publish: Callable[[str, CloudEvent], None],
    ) -> None:
        self.learner, self.name = learner, learner.name
        self._engine, self._settings, self._publish = engine, settings, publish
        self.ring: deque[CloudEvent] = deque(maxlen=settings.ring)
        self.listeners: dict[Listener, bool] = {}
        self.learner_socket: Listener | None = None
        self.consent = False
        self.ended = False
        self.idle_since: float | None = time.monotonic()
        # The mailbox: one frame in the engine, at most one waiting; the newest wins.
        self._waiting: tuple[FrameHeader, bytes, float] | None = None
        self._working: asyncio.Task[None] | None = None
        self._generation = 0
        self._clock = SessionClock(settings.max_skew_s)
        self._learner_left = time.monotonic()
        self._frames = TokenBucket(settings.max_fps, max(settings.max_fps, 1.0))
        self._last_frame_at = self._analysed_at = time.monotonic()
        self.received = self.dropped = self.failed = self.observed = 0
        self.backend_ok = True
        self._dropped_told, self._flow_at = 0, 0.0
        self._status_at, self._observed_told = time.monotonic(), 0
        self._latencies: deque[float] = deque(maxlen=200)

    # Listeners

    def listen(self, socket: Listener, *, learner: bool, observations: bool) -> None:
        """Send this session's messages to a socket from now on; a learner's earlier socket is closed."""
        if learner:
            if self.learner_socket is not None:
                reason = "this learner connected with another socket"
                self.learner_socket.finish(CloseCode.REPLACED, reason)  # first: a full outbox must not say otherwise
                self.learner_socket.take(Error(code=ErrorCode.REPLACED, message=reason, fatal=True))
            self.learner_socket = socket
            self._clock.new_source()
        self.listeners[socket] = observations
        self.idle_since = None

    def leave(self, socket: Listener) -> None:
        """Forget a socket; without any the session becomes idle."""
        self.listeners.pop(socket, None)
        if self.learner_socket is socket:
            self.learner_socket, self._learner_left = None, time.monotonic()
        if not self.listeners:
            self.idle_since = time.monotonic()

    def snapshot(self) -> Snapshot:
        """Where the session stands."""
        estimate = self.learner.estimate
        return Snapshot(
            session=self.name,
            t=estimate.t if estimate else None,
            seq=self.learner.numbering.seq,
            states=estimate.state_map() if estimate else None,
            valence=estimate.valence if estimate else None,
            arousal=estimate.arousal if estimate else None,
            presence=(estimate.presence if estimate else Presence.UNKNOWN).value,
            evidence=(estimate.evidence if estimate else EvidenceLabel.NONE).value,
            open=[
                OpenState(state=state.value, t_start=t_start)
                for state, t_start in self.learner.model.policy.open_states.items()
            ],
            consent=self.consent,
        )

    def broadcast_snapshot(self) -> None:
        """Tell every listener where the session stands, after consent changed."""
        self._broadcast(self.snapshot())

    def missed(self, after: int) -> list[Event]:
        """Events later than `after` that the ring still has, marked as replayed."""
        return [Event(replayed=True, event=event) for event in self.ring if event.data.seq > after]

    # What clients send

    def set_consent(self, *, granted: bool) -> None:
        """Grant or revoke; revoking ends open states, drops what waits and forgets what faces told."""
        if self.ended:
            return
        revoked, self.consent = self.consent and not granted, granted  # first: nothing below may keep a grant alive
        if revoked:
            self._drop_buffers()
            self._emit(self.learner.revoke(self._now()))

    def push(self, header: FrameHeader, image: bytes) -> None:
        """Take a frame into the mailbox.

        Raises:
            PolicyError: No consent.
            FrameError: Out of order, from the future, or too many a second.
        """
        if self.ended:
            return
        if not self.consent:
            raise PolicyError("no frame is accepted before `consent` is granted for this session")
        now = time.monotonic()
        if not self._frames.take():
            raise FrameError(f"more than {self._settings.max_fps:g} frames a second", code=ErrorCode.RATE_LIMITED)
        header = self._clock.take(header, self.learner.model.t)
        self._last_frame_at = now
        self.received += 1
        if self._waiting is not None:
            self.dropped += 1
            self._tell_flow(now)
        self._waiting = (header, image, now)
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    def host(self, t: float | None, kind: str) -> None:
        """Take host evidence.

        Raises:
            ProtocolError: No such kind.
            FrameError: `t` is ahead of the session's clock.
        """
        if not self.ended:
            self._emit(self.learner.host(self._clock.at(t, self.learner.model.t), kind))

    def correct(self, t: float | None, state: LearnerState) -> None:
        """Take somebody's word for the true state; raises as `host`."""
        if not self.ended:
            self._emit(self.learner.correct(self._clock.at(t, self.learner.model.t), state))

    def end(self, code: CloseCode = CloseCode.NORMAL, reason: str = "the session ended") -> None:
        """End the session: offsets go out, buffers are dropped, its sockets close."""
        if self.ended:
            return
        self.ended = True
        self.consent = False
        self._drop_buffers()
        try:
            self._emit(self.learner.end(OffsetReason.SESSION_END, self._now()))
        finally:
            for listener in list(self.listeners):
                listener.finish(code, reason)

    def tick(self) -> None:
        """Let time pass when no frame does it, and report the status when it is time; called about once a second."""
        now = time.monotonic()
        left = self.learner_socket is None and now - self._learner_left >= self._settings.resume_s
        if self.consent and self.listeners and left:  # a tutor stays; whoever comes next may be somebody else
            self.set_consent(granted=False)
            self.broadcast_snapshot()
        watched = self.consent and self._clock.running
        idle = now - self._last_frame_at >= _TICK_AFTER_S or now - self._analysed_at >= _STUCK_S
        if idle and (watched or self.learner.model.policy.open_states):
            self._emit(self.learner.tick(self._now()))
        if now - self._status_at >= self._settings.status_s:
            self._broadcast(self._status(now))

    # Inside

    def _now(self) -> float:
        return self._clock.now(self.learner.model.t)

    async def _work(self) -> None:
        """Send the mailbox through the engine until it is empty."""
        try:
            while self._waiting is not None:
                header, image, arrived = self._waiting
                self._waiting = None
                await self._analyse(header, image, arrived)
        finally:
            self._working = None

    async def _analyse(self, header: FrameHeader, image: bytes, arrived: float) -> None:
        generation = self._generation
        frame = Frame(header.t, header.seq, image)
        try:
            faces = await asyncio.wrap_future(self._engine.submit(FrameJob(frame, self.learner.tracker)))
            self._analysed_at = time.monotonic()
            if generation != self._generation:
                return  # consent was revoked meanwhile
            observation, events = self.learner.observe(faces)
        except AffectError as exc:
            self.failed += 1
            self.backend_ok = self.backend_ok and exc.code in _OF_THE_PICTURE
            self._broadcast(Error(code=exc.code, message=exc.message, ref=header.seq))
            if generation == self._generation:
                with contextlib.suppress(AffectError):  # a failing estimator was told just now
                    self._emit(self.learner.tick(header.t))  # time passes, whatever became of the picture
            return
        for code, message in faces.warnings:
            self._broadcast(Error(code=ErrorCode(code), message=message, ref=header.seq))
        self.backend_ok = not faces.warnings
        self.failed += bool(faces.warnings)
        self.observed += 1
        latency = time.monotonic() - arrived
        self._latencies.append(latency)
        self._emit(events)
        if any(self.listeners.values()):
            self._broadcast(observation_message(observation, latency), observation=True)

    def _drop_buffers(self) -> None:
        self._generation += 1
        self._waiting = None

    def _emit(self, events: list[CloudEvent]) -> None:
        for event in events:
            self.ring.append(event)
            self._publish(self.name, event)
            self._broadcast(Event(event=event))

    def _broadcast(self, message: ServerMessage, *, observation: bool = False) -> None:
        for listener, wants_observations in list(self.listeners.items()):
            if not observation or wants_observations:
                listener.take(message)

    def _tell_flow(self, now: float) -> None:
        if now - self._flow_at < _FLOW_INTERVAL_S:
            return
        latency = float(np.median(self._latencies)) if self._latencies else 0.2
        self._broadcast(
            Flow(
                dropped=self.dropped,
                since_last=self.dropped - self._dropped_told,
                suggested_fps=round(min(self._settings.max_fps, max(0.5, 0.8 / max(latency, 1e-3))), 1),
            )
        )
        self._flow_at, self._dropped_told = now, self.dropped

    def _status(self, now: float) -> Status:
        estimate = self.learner.estimate
        evidence_t = self.learner.model.evidence_t
        span = now - self._status_at
        fps = (self.observed - self._observed_told) / span if span > 0 else 0.0
        self._status_at, self._observed_told = now, self.observed
        latency = None
        if self._latencies:
            p50, p95 = np.percentile(np.array(self._latencies) * 1000, [50, 95])
            latency = Latency(p50=round(float(p50), 1), p95=round(float(p95), 1))
        return Status(
            t=estimate.t if estimate else None,
            fps=round(fps, 2),
            received=self.received,
            dropped=self.dropped,
            failed=self.failed,
            latency_ms=latency,
            presence=(estimate.presence if estimate else Presence.UNKNOWN).value,
            evidence_age_s=round(max(self._now() - evidence_t, 0.0), 1) if np.isfinite(evidence_t) else None,
            suppressed=self.learner.model.policy.suppressed,
            consent=self.consent,
            backend_ok=self.backend_ok,
        )
