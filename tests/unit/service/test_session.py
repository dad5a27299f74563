"""A session of the service around an engine whose answers the test holds back."""

import asyncio
import time
from concurrent.futures import Future

import numpy as np
import pytest

from affect.cloudevents import CloudEvent
from affect.errors import AffectError, BackendError, ErrorCode, FrameError, PolicyError
from affect.labels import EMOTIONS, STATES, LearnerState
from affect.pipeline import FrameJob
from affect.plugins import PluginHost
from affect.service.protocol import (
    CloseCode,
    Error,
    Event,
    Flow,
    FrameHeader,
    ObservationMessage,
    ServerMessage,
    Snapshot,
    Status,
)
from affect.service.session import ServiceSession
from affect.session import new_session
from affect.settings import Settings
from affect.types import Detection, Face, FrameFaces

BOX = np.array([10, 10, 90, 90], np.float32)


class HeldEngine:
    """Answers when the test says so."""

    broken = ""

    def __init__(self) -> None:
        self.jobs: list[tuple[FrameJob, Future[FrameFaces]]] = []

    def submit(self, job: FrameJob) -> Future[FrameFaces]:
        self.jobs.append((job, Future()))
        return self.jobs[-1][1]

    def answer(self, number: int) -> None:
        job, future = self.jobs[number]
        shares = np.full(len(EMOTIONS), 1 / len(EMOTIONS), np.float32)
        face = Face(1, BOX, None, 1.0, None, 1.0, shares)
        future.set_result(FrameFaces(job.frame.t, job.frame.seq, 100, 100, (face,), 1))

    def fail(self, number: int, error: AffectError) -> None:
        self.jobs[number][1].set_exception(error)

    def close(self) -> None:
        pass


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[ServerMessage] = []

    def take(self, message: ServerMessage) -> None:
        self.heard.append(message)

    def finish(self, code: CloseCode, reason: str) -> None:
        pass

    def of(self, kind: type) -> list[ServerMessage]:
        return [message for message in self.heard if isinstance(message, kind)]


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


@pytest.fixture
def published() -> list[CloudEvent]:
    return []


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def session(engine: HeldEngine, published: list[CloudEvent], ear: Ear) -> ServiceSession:
    settings = Settings()
    learner = new_session("anna", settings, PluginHost())
    made = ServiceSession(learner, engine, settings.service, lambda _, event: published.append(event))
    made.listen(ear, learner=True, observations=True)
    made.set_consent(granted=True)
    return made


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def push(session: ServiceSession, seq: int) -> None:
    session.push(FrameHeader(seq=seq, t=seq / 10, media="image/jpeg"), b"a picture")


async def test_what_was_in_work_when_consent_was_revoked_is_forgotten(
    session: ServiceSession, engine: HeldEngine, published: list[CloudEvent], ear: Ear
) -> None:
    push(session, 1)
    await settle()
    push(session, 2)
    session.set_consent(granted=False)
    engine.answer(0)
    await settle()
    assert len(engine.jobs) == 1  # the frame that waited never reached the engine
    assert ear.of(ObservationMessage) == []
    assert published == []
    assert session.learner.estimate is None


async def test_a_grant_after_a_revocation_begins_with_the_next_frame(
    session: ServiceSession, engine: HeldEngine, ear: Ear
) -> None:
    push(session, 1)
    await settle()
    session.set_consent(granted=False)
    session.set_consent(granted=True)
    engine.answer(0)
    await settle()
    assert ear.of(ObservationMessage) == []
    push(session, 2)
    await settle()
    engine.answer(1)
    await settle()
    (seen,) = ear.of(ObservationMessage)
    assert isinstance(seen, ObservationMessage)
    assert seen.seq == 2


async def test_the_newest_frame_waits_and_the_others_are_counted(
    session: ServiceSession, engine: HeldEngine, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for seq in range(1, 6):
        push(session, seq)
        await settle()
    engine.answer(0)
    await settle()
    assert [job.frame.seq for job, _ in engine.jobs] == [1, 5]
    assert (session.received, session.dropped) == (5, 3)
    (told,) = ear.of(Flow)  # at most one a second
    assert isinstance(told, Flow)
    assert told.dropped == 1
    engine.answer(1)
    await settle()
    assert [m.seq for m in ear.of(ObservationMessage) if isinstance(m, ObservationMessage)] == [1, 5]
    assert len(ear.of(Event)) == 1  # present


def kinds(published: list[CloudEvent]) -> list[tuple[str, str]]:
    return [(event.data.state, event.data.phase) for event in published]


async def test_a_revocation_forgets_what_faces_told_and_the_host_may_go_on(
    session: ServiceSession, engine: HeldEngine, published: list[CloudEvent]
) -> None:
    push(session, 1)
    await settle()
    engine.answer(0)
    await settle()
    session.correct(None, LearnerState.BOREDOM)
    session.set_consent(granted=False)
    assert kinds(published)[-1] == ("boredom", "offset")
    assert session.snapshot().states is None
    assert session.snapshot().presence == "unknown"
    model = session.learner.model
    rates = [session.learner.fresh_estimator().advance(0.0)[STATES.index(s)] for s in STATES]
    np.testing.assert_allclose(model.estimator.advance(model.t), rates, rtol=1e-6)
    session.host(None, "typed_frustration")
    assert kinds(published)[-1] == ("frustration", "onset")


async def test_a_revocation_forgets_the_tracks(session: ServiceSession, engine: HeldEngine) -> None:
    push(session, 1)
    await settle()
    engine.jobs[0][0].tracker.detected(0.1, [Detection(BOX, None, 1.0)])
    engine.answer(0)
    await settle()
    session.set_consent(granted=False)
    session.set_consent(granted=True)
    push(session, 2)
    await settle()
    before, after = (job.tracker for job, _ in engine.jobs)
    assert (len(before.visible), before.followed) == (1, 1)
    assert (len(after.visible), after.followed) == (0, None)
    assert after.settings is before.settings


async def test_what_the_host_opened_ends_without_a_camera(
    session: ServiceSession, published: list[CloudEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    session.set_consent(granted=False)
    session.correct(None, LearnerState.BOREDOM)
    now = time.monotonic()
    for later in range(2, 40, 2):
        monkeypatch.setattr(time, "monotonic", lambda later=later: now + later)
        session.tick()
    assert kinds(published)[-1] == ("boredom", "offset")
    assert published[-1].data.reason in ("decay", "no_evidence")


class Broken:
    """What an estimator plugin may do."""

    kinds, rest = (), None

    def advance(self, t: float) -> np.ndarray:
        return np.full(len(STATES), np.nan, np.float32)

    def observe(self, t: float, face: object) -> np.ndarray:
        return self.advance(t)


async def test_an_estimator_that_answers_nonsense_costs_the_frame_and_no_grant(
    session: ServiceSession, engine: HeldEngine, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.correct(None, LearnerState.BOREDOM)
    monkeypatch.setattr(session.learner.model, "estimator", Broken())
    push(session, 1)
    await settle()
    engine.answer(0)
    await settle()
    assert session.failed == 1
    (error,) = ear.of(Error)
    assert isinstance(error, Error)
    assert "the estimator answered" in error.message
    session.set_consent(granted=False)
    assert session.consent is False
    with pytest.raises(PolicyError):
        push(session, 2)


async def test_a_grant_ends_with_the_learner_though_a_tutor_stays(
    session: ServiceSession, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    tutor = Ear()
    session.listen(tutor, learner=False, observations=False)
    session.leave(ear)
    session.tick()
    assert session.snapshot().consent
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 301)
    session.tick()
    assert not session.snapshot().consent
    (told,) = tutor.of(Snapshot)
    assert isinstance(told, Snapshot)
    assert told.consent is False


async def test_an_ended_session_takes_nothing(
    session: ServiceSession, engine: HeldEngine, published: list[CloudEvent]
) -> None:
    session.correct(None, LearnerState.BOREDOM)
    session.end()
    told = list(published)
    session.set_consent(granted=True)
    push(session, 1)
    session.host(None, "typed_frustration")
    session.correct(None, LearnerState.CONFUSION)
    await settle()
    assert (session.consent, session.received, engine.jobs, published) == (False, 0, [], told)
    assert kinds(told)[-1] == ("boredom", "offset")


async def test_a_stuck_engine_does_not_stop_the_time(
    session: ServiceSession, engine: HeldEngine, published: list[CloudEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    push(session, 1)
    await settle()
    engine.answer(0)
    await settle()
    for k in range(2, 60):  # the backend hangs while frames go on
        monkeypatch.setattr(time, "monotonic", lambda k=k: now + k / 5)
        session.push(FrameHeader(seq=k, t=0.1 + k / 5), b"a picture")
        session.tick()
    assert kinds(published) == [("presence", "present"), ("presence", "absent")]


async def test_status_tells_a_face_that_cannot_be_read_from_a_calm_one(
    session: ServiceSession, engine: HeldEngine, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()

    def status(later: float) -> Status:
        monkeypatch.setattr(time, "monotonic", lambda: now + later)
        session.tick()
        told = ear.of(Status)[-1]
        assert isinstance(told, Status)
        return told

    assert status(6).evidence_age_s is None
    push(session, 1)
    await settle()
    engine.answer(0)
    await settle()
    assert status(12).evidence_age_s == pytest.approx(6, abs=0.2)
    for _ in range(3):
        session.host(None, "typed_frustration")
    assert status(18).evidence_age_s == pytest.approx(6, abs=0.2)
    assert status(24).suppressed == 0


@pytest.mark.parametrize(
    ("error", "ok"),
    [
        (FrameError("no eyes", code=ErrorCode.DETECTOR_FAILED), False),
        (BackendError("cuda:0 cannot be used any more"), False),
        (AffectError("RuntimeError: CUDA error"), False),
        (FrameError("cut short"), True),
        (FrameError("a bomb", code=ErrorCode.IMAGE_TOO_LARGE), True),
    ],
)
async def test_status_tells_bad_pictures_from_a_service_that_fails(
    session: ServiceSession, engine: HeldEngine, ear: Ear, monkeypatch: pytest.MonkeyPatch, error: AffectError, ok: bool
) -> None:
    now = time.monotonic()

    def backend_ok(later: float) -> bool:
        monkeypatch.setattr(time, "monotonic", lambda: now + later)
        session.tick()
        told = ear.of(Status)[-1]
        assert isinstance(told, Status)
        return told.backend_ok

    push(session, 1)
    await settle()
    engine.fail(0, error)
    await settle()
    assert backend_ok(6) is ok
    push(session, 2)
    await settle()
    engine.fail(1, FrameError("a picture says nothing of the service"))
    await settle()
    assert backend_ok(12) is ok
    push(session, 3)
    await settle()
    engine.answer(2)
    await settle()
    assert backend_ok(18) is True
