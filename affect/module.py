"""AffectModule: the embedded door. The same pipeline and events as the service, without a socket.

Consent is the host's own business here: whoever embeds the module asks the learner before the first `push`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import numpy as np

from affect.cloudevents import CloudEvent
from affect.errors import AffectError, ErrorCode, FrameError
from affect.inference.engine import LocalEngine
from affect.labels import LearnerState, OffsetReason
from affect.pipeline import FrameJob, PreparedFrame, build_engine, build_pipeline, with_offline_search
from affect.plugins import PluginHost
from affect.session import LearnerSession, new_session
from affect.settings import Settings
from affect.settings.load import load_settings
from affect.types import ByteArray, Estimate, Frame, FrameFaces, Observation

_CLOCKS_S = 3600.0
"""Times further apart than this are of two clocks: the time of day, say, and seconds since the start."""

_BEHIND_S = 60.0
"""A frame this long before what was told is no late frame: something was told on another clock (milliseconds, say)."""

Engine = LocalEngine[FrameJob, PreparedFrame, FrameFaces]


class _Core:
    """What both forms share: settings, engine and one session."""

    def __init__(
        self,
        settings: Settings | None,
        session: str,
        engine: Engine | None,
        host: PluginHost | None,
        phase: float | None = None,
    ) -> None:
        self.settings = settings or load_settings().settings
        self.host = host or PluginHost(self.settings.plugins)
        self.session: LearnerSession = new_session(session, self.settings, self.host, phase=phase)
        self._owns_engine = engine is None  # made last: its threads outlive whatever fails here
        self.engine = engine or build_engine(build_pipeline(self.settings, self.host), self.settings)
        self.seq = 0
        self.last_t = float("-inf")

    def job(self, image: bytes | ByteArray, t: float) -> FrameJob:
        if not np.isfinite(t) or t <= self.last_t:
            raise FrameError(
                f"t {t} after {self.last_t}: times are finite seconds and grow", code=ErrorCode.FRAME_OUT_OF_ORDER
            )
        if self.session.model.t - t > _BEHIND_S:
            raise FrameError(
                f"t {t} is long before what was told at {self.session.model.t}: frames and evidence share one clock",
                code=ErrorCode.FRAME_OUT_OF_ORDER,
            )
        self.last_t = t
        self.seq += 1
        # A capture loop may use its buffer again before we have looked at it.
        own = image.copy() if isinstance(image, np.ndarray) else image
        return FrameJob(Frame(t, self.seq, own), self.session.tracker)

    def told_at(self, t: float) -> float:
        """Return the time of evidence, a correction or a tick, once it is one that frames can follow."""
        if not np.isfinite(t):
            raise FrameError(f"t {t}: times are finite seconds", code=ErrorCode.FRAME_FROM_FUTURE)
        latest = max(self.last_t, self.session.model.t)
        if np.isfinite(self.last_t) and t - latest > _CLOCKS_S:
            raise FrameError(
                f"t {t} is long after the last one, {latest}: frames and evidence share one clock",
                code=ErrorCode.FRAME_FROM_FUTURE,
            )
        return t

    def close(self) -> None:
        if self._owns_engine:
            self.engine.close()


class AffectModule:
    """One learner, asynchronously.

        async with AffectModule() as module:
            module.push(jpeg_or_rgb_array, t)
            async for event in module.events():
                ...

    Args:
        settings: Everything; `affect.toml`, environment and defaults when not given.
        session: Name of the session in the events.
        engine: Share one engine among several modules; built when not given.
        host: Share one plugin host; built when not given.

    Raises (on entering):
        AffectError: A setting is wrong or the backend could not be created.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        session: str = "local",
        engine: Engine | None = None,
        host: PluginHost | None = None,
    ) -> None:
        self._arguments = (settings, session, engine, host)
        self._core: _Core | None = None
        self._waiting: FrameJob | None = None
        self._revocations = 0
        self._worker: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[CloudEvent | None] = asyncio.Queue()
        self._observations: asyncio.Queue[Observation | None] = asyncio.Queue(maxsize=64)
        self.dropped = 0
        self.errors: list[AffectError] = []

    async def __aenter__(self) -> Self:
        self._core = await asyncio.to_thread(_Core, *self._arguments)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            await self.drain()
            self._put(self.core.session.end(OffsetReason.SESSION_END))
        finally:
            self._events.put_nowait(None)
            self._offer(None)
            await asyncio.to_thread(self.core.close)

    @property
    def core(self) -> _Core:
        """The running parts; only inside `async with`."""
        if self._core is None:
            raise AffectError("use AffectModule in `async with`")
        return self._core

    def push(self, image: bytes | ByteArray, t: float) -> None:
        """Hand over a frame; never waits. While one is being worked on, a newer one replaces the one waiting.

        Args:
            image: JPEG, PNG or WebP bytes, or uint8 RGB [H, W, 3].
            t: Seconds; must grow. Frames that cannot be used are kept in `errors`, the last 100.
        """
        try:
            job = self.core.job(image, t)
        except AffectError as exc:
            self._fail(exc)
            return
        if self._waiting is not None:
            self.dropped += 1
        self._waiting = job
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._work())

    def evidence(self, kind: str, t: float) -> None:
        """Tell what the tutor saw: `answer_wrong`, `hint_request`, …; kinds are in the settings.

        Raises:
            ProtocolError: No such kind.
            FrameError: `t` is not on the frames' clock.
        """
        self._put(self.core.session.host(self.core.told_at(t), kind))

    def correct(self, state: LearnerState, t: float) -> None:
        """Tell which state is true, from the learner's or tutor's own word; `t` as for `evidence`."""
        self._put(self.core.session.correct(self.core.told_at(t), state))

    def tick(self, t: float) -> None:
        """Let time pass while no frame comes, about once a second: open states end, and the learner is absent.

        Without it a camera that fell silent leaves everything as it was; `t` as for `evidence`.
        """
        self._put(self.core.session.tick(self.core.told_at(t)))

    def revoke(self, t: float) -> None:
        """Forget the learner, who no longer agrees: open states end, frames at work are dropped; `t` as for `evidence`.

        Belief, baseline and tracks go. What is pushed later begins anew: push nothing until the learner agrees again.
        """
        t = self.core.told_at(t)
        self._waiting = None
        self._revocations += 1
        self._put(self.core.session.revoke(t))

    @property
    def estimate(self) -> Estimate | None:
        """The latest belief."""
        return self.core.session.estimate

    async def drain(self) -> None:
        """Wait until every pushed frame is done."""
        while self._worker is not None:
            await asyncio.shield(self._worker)

    async def events(self) -> AsyncIterator[CloudEvent]:
        """Yield events as they come, until the module closes."""
        while (event := await self._events.get()) is not None:
            yield event
        self._events.put_nowait(None)  # for the next reader

    async def observations(self) -> AsyncIterator[Observation]:
        """Yield observations as they come; 64 wait for who reads, then the oldest are dropped."""
        while (observation := await self._observations.get()) is not None:
            yield observation
        self._offer(None)  # for the next reader

    async def _work(self) -> None:
        try:
            while (job := self._waiting) is not None:
                self._waiting, revocations = None, self._revocations
                try:
                    faces = await asyncio.wrap_future(self.core.engine.submit(job))
                    if revocations != self._revocations:
                        continue
                    observation, events = self.core.session.observe(faces)
                except AffectError as exc:
                    self._fail(exc)
                    continue
                self._offer(observation)
                self._put(events)
        finally:
            self._worker = None

    def _fail(self, error: AffectError) -> None:
        """Keep an error, but none of the frames that lead to it: they hold the picture."""
        self.errors = [*self.errors[-99:], error.with_traceback(None)]
        error.__cause__ = error.__context__ = None

    def _offer(self, observation: Observation | None) -> None:
        """Queue an observation; the oldest gives way."""
        if self._observations.full():
            self._observations.get_nowait()
        self._observations.put_nowait(observation)

    def _put(self, events: list[CloudEvent]) -> None:
        for event in events:
            self._events.put_nowait(event)


class SyncAffectModule:
    """One learner, synchronously: for notebooks, scripts and files. Every frame is worked on, in order.

        with SyncAffectModule() as module:
            observation, events = module.push(frame, t)

    Args: as for `AffectModule`, and
        phase: When regular detections come, 0-1; by default it depends on the session's name.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        session: str = "local",
        engine: Engine | None = None,
        host: PluginHost | None = None,
        phase: float | None = None,
    ) -> None:
        self._core = _Core(settings, session, engine, host, phase)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._core.close()

    def another(self, session: str) -> "SyncAffectModule":
        """Start another session on the same engine: the next learner."""
        core = self._core
        return SyncAffectModule(core.settings, session=session, engine=core.engine, host=core.host)

    def for_file(self, session: str) -> "SyncAffectModule":
        """Start a session for a file on the same engine: its detections depend on nothing but the file."""
        core = self._core
        settings = with_offline_search(core.settings)
        return SyncAffectModule(settings, session=session, engine=core.engine, host=core.host, phase=0.0)

    def push(self, image: bytes | ByteArray, t: float) -> tuple[Observation, list[CloudEvent]]:
        """Work on one frame.

        Raises:
            AffectError: The frame cannot be used; the next one may be pushed all the same.
        """
        return self._core.session.observe(self._core.engine.submit(self._core.job(image, t)).result())

    def push_many(
        self, frames: Iterator[tuple[bytes | ByteArray, float]], window: int = 32
    ) -> Iterator[tuple[Observation, list[CloudEvent]] | AffectError]:
        """Work on many frames; results in order. One batch is worked on while the next one is read.

        Batches are of the same frames whatever the timing, so that two runs round alike.

        Args:
            frames: As for `push`.
            window: Frames in memory at most, two batches.
        """
        size = max(1, min(window // 2, self._core.settings.inference.max_batch))
        pending: deque[list[Future[FrameFaces]]] = deque()
        batch: list[FrameJob | FrameError] = []
        for image, t in frames:
            try:
                batch.append(self._core.job(image, t))
            except FrameError as exc:
                batch.append(exc)
            if len(batch) == size:
                pending.append(self._submit(batch))
                batch = []
                if len(pending) > 1:
                    yield from map(self._take, pending.popleft())
        if batch:
            pending.append(self._submit(batch))
        for futures in pending:
            yield from map(self._take, futures)

    def _submit(self, batch: list[FrameJob | FrameError]) -> list[Future[FrameFaces]]:
        """Queue the jobs of a batch; a frame that was refused keeps its place."""
        answers = iter(self._core.engine.submit_together([job for job in batch if isinstance(job, FrameJob)]))
        return [next(answers) if isinstance(job, FrameJob) else _refused(job) for job in batch]

    def _take(self, future: Future[FrameFaces]) -> tuple[Observation, list[CloudEvent]] | AffectError:
        try:
            return self._core.session.observe(future.result())
        except AffectError as exc:
            return exc

    def evidence(self, kind: str, t: float) -> list[CloudEvent]:
        """Tell what the tutor saw.

        Raises:
            ProtocolError: No such kind.
            FrameError: `t` is not on the frames' clock.
        """
        return self._core.session.host(self._core.told_at(t), kind)

    def correct(self, state: LearnerState, t: float) -> list[CloudEvent]:
        """Tell which state is true, from the learner's or tutor's own word; `t` as for `evidence`."""
        return self._core.session.correct(self._core.told_at(t), state)

    def tick(self, t: float) -> list[CloudEvent]:
        """Let time pass without a frame: open states end, and the learner is absent; `t` as for `evidence`."""
        return self._core.session.tick(self._core.told_at(t))

    def revoke(self, t: float) -> list[CloudEvent]:
        """Forget the learner, who no longer agrees; returns the offsets of open states. As in `AffectModule`."""
        return self._core.session.revoke(self._core.told_at(t))

    def end(self) -> list[CloudEvent]:
        """Close all open states; returns their offsets."""
        return self._core.session.end(OffsetReason.SESSION_END)

    @property
    def estimate(self) -> Estimate | None:
        """The latest belief."""
        return self._core.session.estimate


def _refused(error: FrameError) -> Future[FrameFaces]:
    future: Future[FrameFaces] = Future()
    future.set_exception(error)
    return future
