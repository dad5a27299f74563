"""What waits to be sent to one socket: bounded, coalescing, never losing an onset or offset."""

import asyncio
from collections import OrderedDict

from affect.service.protocol import (
    Event,
    Flow,
    ObservationMessage,
    ServerMessage,
    Snapshot,
    Status,
)


class OutboxFullError(Exception):
    """The consumer is too far behind; close it, it can resume."""


class Outbox:
    """Messages for one socket, in order.

    Observations, status, flow and snapshots replace an unsent one of their kind; an `update` replaces an unsent update
    of the same state. Everything else is kept. Replayed events, of which there are at most a ring full, do not count.

    Args:
        capacity: Messages kept before `put` raises.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._items: OrderedDict[tuple[str, ...], ServerMessage] = OrderedDict()
        self._count = 0
        self._waiting = asyncio.Event()
        self._live = 0
        self._closed = False

    def put(self, message: ServerMessage) -> None:
        """Queue a message.

        Raises:
            OutboxFullError: Capacity is reached and nothing can be replaced.
        """
        if self._closed:
            return
        key = _coalescing_key(message)
        if key is not None and key in self._items:
            if not isinstance(message, Snapshot):  # which stays where it is, before the events that were missed
                # An update moves to the end: later than the events between, as it happened.
                del self._items[key]
            self._live -= 1
        elif self._live >= self._capacity and not _replayed(message):
            raise OutboxFullError
        if key is None:
            self._count += 1
            key = ("", str(self._count))
        self._items[key] = message
        self._live += not _replayed(message)
        self._waiting.set()

    def close(self) -> None:
        """Take no more; `get` returns None once everything is taken."""
        self._closed = True
        self._waiting.set()

    async def get(self) -> ServerMessage | None:
        """Wait for the next message and take it; None after `close`."""
        while not self._items:
            if self._closed:
                return None
            self._waiting.clear()
            await self._waiting.wait()
        _, message = self._items.popitem(last=False)
        self._live -= not _replayed(message)
        return message

    def __len__(self) -> int:
        return len(self._items)


def _replayed(message: ServerMessage) -> bool:
    return isinstance(message, Event) and message.replayed


def _coalescing_key(message: ServerMessage) -> tuple[str, ...] | None:
    if isinstance(message, ObservationMessage | Status | Flow | Snapshot):
        return (message.type,)
    if isinstance(message, Event) and not message.replayed and message.event.data.phase == "update":
        return ("update", message.event.data.state)
    return None
