"""A session of the service around an engine whose answers the test holds back."""

import asyncio
from concurrent.futures import Future

import numpy as np
import pytest

from affect.cloudevents import CloudEvent
from affect.labels import EMOTIONS
from affect.pipeline import FrameJob
from affect.plugins import PluginHost
from affect.service.protocol import CloseCode, Event, Flow, FrameHeader, ObservationMessage, ServerMessage
from affect.service.session import ServiceSession
from affect.session import new_session
from affect.settings import Settings
from affect.types import Face, FrameFaces

BOX = np.array([10, 10, 90, 90], np.float32)


class HeldEngine:
    """Answers when the test says so."""

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
    session: ServiceSession, engine: HeldEngine, ear: Ear
) -> None:
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
