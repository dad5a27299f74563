"""Joins dialogue, policy and the affect service: hears the learner's events, tells it what the tutor knows."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Protocol, Self

from affect.errors import AffectError
from affect.labels import LearnerState
from affect.service.protocol import Event, ServerMessage, Snapshot, Status
from affect_autotutor.dialogue import Dialogue, Move, Verdict
from affect_autotutor.policy import AffectPolicy, Tactic

log = logging.getLogger(__name__)


class Client(Protocol):
    """The affect service as the tutor sees it: `affect_client.AffectClient` with the role tutor, or a test's."""

    def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """Yield what the service tells."""
        ...

    async def evidence(self, kind: str, t: float | None = None) -> Any:
        """Tell what the learner did."""
        ...


class TutorHost:
    """One learner's lesson; without a client a tutor that knows no faces.

    Use as a context manager: inside it listens.

    Args:
        dialogue: What is said.
        policy: What is done about feelings.
        client: The affect service.
        slow_s: A turn that takes longer is told as `slow_response`, seconds. [D]
        fast_s: A wrong turn that came sooner is told as `fast_guess`, seconds. [D]
    """

    def __init__(
        self,
        dialogue: Dialogue,
        policy: AffectPolicy,
        client: Client | None = None,
        *,
        slow_s: float = 45.0,
        fast_s: float = 3.0,
    ) -> None:
        self.dialogue, self.policy, self._client = dialogue, policy, client
        self._slow_s, self._fast_s = slow_s, fast_s
        self._listening: asyncio.Task[None] | None = None
        self._asked_at = time.monotonic()
        self._clock: tuple[float, float] | None = None
        self.tactics: list[Tactic | None] = []

    async def __aenter__(self) -> Self:
        if self._client is not None:
            self._listening = asyncio.create_task(self._listen(self._client))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening

    def start(self) -> list[Move]:
        """Ask the first question."""
        self._asked_at = time.monotonic()
        return self.dialogue.start()

    async def say(self, turn: str) -> list[Move]:
        """Take a learner's turn; return what the tutor says. `?` asks for help and is no answer."""
        took = time.monotonic() - self._asked_at
        question = self.dialogue.question
        if turn.strip() == "?":
            await self._tell("hint_request")
            moves = self.dialogue.go_on(Tactic.HINT)
        else:
            moves = self.dialogue.take(turn)
            verdict = self.dialogue.verdict
            if verdict is not Verdict.UNCLEAR:  # our own doubt is no evidence of the learner's
                await self._tell("answer_correct" if verdict is Verdict.RIGHT else "answer_wrong")
            if took > self._slow_s:
                await self._tell("slow_response")
            elif took < self._fast_s and verdict is Verdict.WRONG:
                await self._tell("fast_guess")
            right = verdict is Verdict.RIGHT
            tactic = self.policy.decide(self._now(), right=right, mastery=self.dialogue.mastery)
            moves += self.dialogue.go_on(tactic)
            if tactic is not None and not self.dialogue.used:
                self.policy.unused()
                tactic = None
            self.tactics.append(tactic)
        if self.dialogue.question is not question:
            self.policy.new_question()
        self._asked_at = time.monotonic()
        return moves

    async def _tell(self, kind: str) -> None:
        if self._client is None:
            return
        try:
            await self._client.evidence(kind)
        except AffectError as exc:  # the learner may have closed the camera's page, which ends the session
            log.warning("no affect any more: %s", exc.message)
            self._client = None
            self.policy.begin({})

    async def _listen(self, client: Client) -> None:
        async for message in client:
            self.hear(message)

    def hear(self, message: ServerMessage) -> None:
        """Take a message of the service."""
        if isinstance(message, Event):
            self._clock = message.event.data.t, time.monotonic()
            self.policy.tell(message.event)
        elif isinstance(message, Snapshot):
            self.policy.begin({LearnerState(held.state): held.t_start for held in message.open})
        elif isinstance(message, Status) and message.t is not None:
            self._clock = message.t, time.monotonic()

    def _now(self) -> float:
        """The present on the session's clock, as far as the service has told it."""
        if self._clock is None:
            return 0.0
        t, heard = self._clock
        return t + time.monotonic() - heard
