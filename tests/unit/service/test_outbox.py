"""What waits for a slow consumer: which messages the next of their kind replaces, and which never go."""

import asyncio
from collections.abc import Callable

import pytest

from affect.cloudevents import EventNumbering
from affect.labels import Evidence
from affect.service.outbox import Outbox, OutboxFullError
from affect.service.protocol import Event, Flow, ObservationMessage, Pong, ServerMessage, Snapshot, Status
from affect.types import LearnerEvent

NUMBERING = EventNumbering("s", "model", "config")


def event(state: str, phase: str, t: float, *, replayed: bool = False) -> Event:
    told = LearnerEvent(state, phase, 0.5, t, t, None, None, {}, 0.0, 0.0, Evidence.FACE)
    return Event(replayed=replayed, event=NUMBERING.wrap(told))


def flow(dropped: int) -> Flow:
    return Flow(dropped=dropped, since_last=0, suggested_fps=5.0)


async def taken(outbox: Outbox) -> list[ServerMessage]:
    outbox.close()
    found = []
    while (message := await outbox.get()) is not None:
        found.append(message)
    return found


def told(messages: list[ServerMessage]) -> list[tuple[str, str, float]]:
    return [(m.event.data.state, m.event.data.phase, m.event.data.t) for m in messages if isinstance(m, Event)]


async def test_an_update_is_replaced_by_the_next_of_its_state_alone() -> None:
    outbox = Outbox(16)
    for state, t in (("confusion", 1.0), ("boredom", 2.0), ("confusion", 3.0)):
        outbox.put(event(state, "update", t))
    assert told(await taken(outbox)) == [("boredom", "update", 2.0), ("confusion", "update", 3.0)]


@pytest.mark.parametrize("phase", ["onset", "offset", "corrected", "present", "absent"])
async def test_no_other_event_is_ever_replaced(phase: str) -> None:
    outbox = Outbox(16)
    for t in (1.0, 2.0, 3.0):
        outbox.put(event("confusion", phase, t))
    assert [t for *_, t in told(await taken(outbox))] == [1.0, 2.0, 3.0]


def observation(number: int) -> ObservationMessage:
    return ObservationMessage(
        t=float(number), seq=number, width=9, height=9, faces=[], followed=None, states={}, valence=None, arousal=None,
        presence="present", evidence="face", latency_ms=1.0,
    )  # fmt: skip


def status(number: int) -> Status:
    return Status(
        t=None, fps=5.0, received=number, dropped=0, failed=0, latency_ms=None, presence="present",
        evidence_age_s=None, suppressed=0, consent=True, backend_ok=True,
    )  # fmt: skip


def snapshot(number: int) -> Snapshot:
    return Snapshot(
        session="s", t=None, seq=number, states=None, valence=None, arousal=None, presence="unknown", evidence="none",
        open=[], consent=True,
    )  # fmt: skip


@pytest.mark.parametrize("make", [observation, status, flow, snapshot])
async def test_the_newest_of_a_kind_is_enough(make: Callable[[int], ServerMessage]) -> None:
    outbox = Outbox(4)
    for number in (1, 2, 3):
        outbox.put(make(number))
        outbox.put(Pong(id=number))
    found = await taken(outbox)
    assert [m for m in found if not isinstance(m, Pong)] == [make(3)]
    assert [m.id for m in found if isinstance(m, Pong)] == [1, 2, 3]


async def test_a_snapshot_stays_before_the_events_that_were_missed() -> None:
    outbox = Outbox(16)
    outbox.put(snapshot(1))
    outbox.put(event("boredom", "onset", 1.0, replayed=True))
    outbox.put(snapshot(2))
    first, second = await taken(outbox)
    assert first == snapshot(2)
    assert isinstance(second, Event)


async def test_a_full_outbox_is_an_error_but_not_for_what_replaces_or_is_replayed() -> None:
    outbox = Outbox(2)
    outbox.put(event("confusion", "update", 1.0))
    outbox.put(event("confusion", "onset", 2.0))
    outbox.put(event("confusion", "update", 3.0))
    for t in (1.0, 2.0, 3.0):
        outbox.put(event("boredom", "onset", t, replayed=True))
    with pytest.raises(OutboxFullError):
        outbox.put(event("boredom", "onset", 4.0))
    assert len(outbox) == 5
    await outbox.get()
    outbox.put(event("boredom", "onset", 4.0))


async def test_what_is_put_wakes_who_waits() -> None:
    outbox = Outbox(2)
    waiting = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put(Pong(id=7))
    async with asyncio.timeout(10):
        message = await waiting
    assert isinstance(message, Pong)
    outbox.close()
    outbox.put(Pong(id=8))
    assert await outbox.get() is None
