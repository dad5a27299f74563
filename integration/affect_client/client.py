"""An async client of the affect service: connects, consents, sends frames, yields typed messages, reconnects.

async with AffectClient("ws://127.0.0.1:8765/ws") as client:
    await client.consent()
    await client.send_frame(jpeg, t)
    async for message in client:
        ...
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from affect.errors import AffectError, ErrorCode, ProtocolError
from affect.labels import LearnerState
from affect.service.framing import pack_frame
from affect.service.protocol import (
    SERVER_ADAPTER,
    SUBPROTOCOL,
    Bye,
    CloseCode,
    Consent,
    Correct,
    Error,
    Event,
    Evidence,
    FrameHeader,
    Hello,
    Media,
    Message,
    Resume,
    Role,
    ServerMessage,
    Snapshot,
    Welcome,
)
from affect.settings.service import Context
from affect.version import __version__

log = logging.getLogger(__name__)

FINAL_CODES = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.BAD_HELLO,
        CloseCode.UNAUTHORIZED,
        CloseCode.FORBIDDEN,
        CloseCode.REPLACED,
        CloseCode.VERSION,
        CloseCode.POLICY,
    }
)
"""Close codes after which trying again would end the same way."""


_INBOX = 10_000


class AffectClient:
    """One socket, renewed when it breaks.

    Args:
        url: `ws://HOST:PORT/ws` or `wss://…`.
        roles: `learner` to send frames, `tutor` to receive events.
        session: Join this session; the service makes a new one when not given.
        token: When the service wants one.
        observations: Also receive an `observation` a frame.
        reconnect: Whether to connect again, with resume, when the socket breaks.
        tls: For `wss://` with a certificate that this machine does not trust by itself:
            `ssl.create_default_context(cafile=…)`.
        connect_timeout_s: How long the first connection may take, retries included; entering raises `ProtocolError`
            after it, with what went wrong last.
    """

    def __init__(
        self,
        url: str,
        *,
        roles: Sequence[Role] = ("learner", "tutor"),
        session: str | None = None,
        token: str | None = None,
        observations: bool = False,
        reconnect: bool = True,
        tls: ssl.SSLContext | None = None,
        # Timeouts
        connect_timeout_s: float = 10.0,
        backoff_s: tuple[float, float] = (0.2, 5.0),
    ) -> None:
        self.url, self.session = url, session
        self._roles, self._token, self._observations = list(roles), token, observations
        self._reconnect, self._connect_timeout_s, self._backoff_s = reconnect, connect_timeout_s, backoff_s
        self._tls = tls
        self._socket: ClientConnection | None = None
        self._consent: Consent | None = None
        self._leave_by: float | None = None
        self._failure = "no answer"
        self._seq = 0
        self.last_event = 0
        self._resume = False
        self.welcome: Welcome | None = None
        self._inbox: asyncio.Queue[ServerMessage | None] = asyncio.Queue()
        self._pump: asyncio.Task[None] | None = None
        self._over: str | None = None
        self._told_of: set[ErrorCode] = set()

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._connect(first=True)
        except BaseException as exc:
            if self._socket is not None:
                await self._socket.close()
            if not isinstance(exc, TimeoutError):
                raise
            raise ProtocolError(
                f"no connection to {self.url} within {self._connect_timeout_s:g} s: {self._failure}",
                code=ErrorCode.NO_SESSION,
            ) from exc
        # Somebody must read even if the host only sends: unread messages would stall the heartbeat.
        self._pump = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._reconnect = False
        if self._socket is not None:
            await self._socket.close()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    @property
    def closed(self) -> str | None:
        """Why the connection is over for good; None while it is not."""
        return self._over

    async def consent(
        self,
        granted: bool = True,
        *,
        context: Context | None = None,
        jurisdiction: str | None = None,
        purpose: str | None = None,
    ) -> None:
        """Grant or revoke; the last word is repeated after a reconnect where the service has another."""
        self._consent = Consent(granted=granted, context=context, jurisdiction=jurisdiction, purpose=purpose)
        await self._send(self._consent)

    async def send_frame(self, image: bytes, t: float, media: Media = "image/jpeg") -> int:
        """Send a picture; returns its `seq`. A frame that finds the socket broken is lost, as newer ones follow."""
        self._seq += 1
        header = FrameHeader(seq=self._seq, t=t, media=media)
        with contextlib.suppress(ConnectionClosed):
            await self._open_socket().send(pack_frame(header, image))
        return self._seq

    async def evidence(self, kind: str, t: float | None = None) -> bool:
        """Tell what the host saw the learner do; returns whether it was sent, which a broken socket prevents."""
        return await self._send(Evidence(kind=kind, t=t))

    async def correct(self, state: LearnerState, t: float | None = None) -> bool:
        """Tell which state is true; returns whether it was sent."""
        return await self._send(Correct(state=state, t=t))

    async def bye(self) -> None:
        """End the session; what remains is still received.

        Said again with the next socket when this one breaks first; for as long as the first connection may take.
        """
        self._leave_by = asyncio.get_running_loop().time() + self._connect_timeout_s
        await self._send(Bye())

    async def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """Yield messages; reconnects and resumes in between. Ends when the service closed for good: see `closed`.

        Up to 10,000 messages wait for whoever iterates; then the oldest go.
        """
        while (message := await self._inbox.get()) is not None:
            yield message
        self._keep(None)  # for the next reader

    async def events(self) -> AsyncIterator[Event]:
        """Yield only learner events; what the service refuses (`error`) is logged as a warning."""
        async for message in self:
            if isinstance(message, Event):
                yield message

    # Inside

    async def _read(self) -> None:
        """Read, note, keep; reconnect when the socket breaks; end when it is over for good."""
        try:
            while True:
                try:
                    self._keep(await self._receive())
                except ConnectionClosed as exc:
                    code = exc.rcvd.code if exc.rcvd else None
                    if not self._reconnect or code in FINAL_CODES:
                        self._over = f"closed with {code}: {exc.rcvd.reason if exc.rcvd else 'connection lost'}"
                        if code != CloseCode.NORMAL and self._reconnect:
                            log.warning("%s: %s", self.url, self._over)
                        return
                    log.info("connection lost (%s), reconnecting", code)
                    await asyncio.sleep(self._backoff_s[0] * random.random())  # not all clients at once
                    await self._connect(first=False)
        except ProtocolError as exc:
            self._over = exc.message
            log.warning("%s: %s", self.url, self._over)
        finally:
            self._keep(None)

    def _keep(self, message: ServerMessage | None) -> None:
        if self._inbox.qsize() >= _INBOX:
            self._inbox.get_nowait()
        self._inbox.put_nowait(message)

    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise AffectError("use AffectClient in `async with`")
        if self._over is not None:
            raise ProtocolError(f"the connection is over: {self._over}", code=ErrorCode.NO_SESSION)
        return self._socket

    async def _send(self, message: Message) -> bool:
        """Send; returns whether the socket took it."""
        try:
            await self._open_socket().send(message.model_dump_json(exclude_none=True))
        except ConnectionClosed:
            return False
        return True

    async def _receive(self) -> ServerMessage:
        """Return the next message; one that this client does not know (of a newer service) is passed over."""
        while True:
            data = await self._open_socket().recv()
            try:
                return self._note(SERVER_ADAPTER.validate_json(data))
            except ValidationError as exc:
                log.warning("passed over a message of the service: %s", exc.errors()[0]["msg"])

    async def _connect(self, *, first: bool) -> None:
        """Connect and shake hands, again and again with growing pauses.

        Raises:
            ProtocolError: The service refuses for good.
        """
        pause, longest = self._backoff_s
        given: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls}
        while True:
            try:
                self._socket = await connect(
                    self.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, max_size=None, **given
                )
                self._resume = not first
                await self._hello()
                return
            except (OSError, InvalidHandshake, ConnectionClosed) as exc:
                self._failure = str(exc) or type(exc).__name__
                if self._leave_by is not None and asyncio.get_running_loop().time() > self._leave_by:
                    raise ProtocolError(f"`bye` could not be said: {self._failure}", code=ErrorCode.NO_SESSION) from exc
                if isinstance(exc, ConnectionClosed) and exc.rcvd:
                    if exc.rcvd.code in FINAL_CODES:
                        raise ProtocolError(
                            f"the service closed with {exc.rcvd.code}: {exc.rcvd.reason}", code=ErrorCode.NOT_ALLOWED
                        ) from exc
                    if exc.rcvd.code == CloseCode.NO_SESSION:
                        first, self.last_event = True, 0  # the service has forgotten it: begin anew
                await asyncio.sleep(pause * random.uniform(0.7, 1.3))
                pause = min(pause * 2, longest)

    async def _hello(self) -> None:
        run = self.welcome.run if self.welcome else None
        hello = Hello(
            protocol=SUBPROTOCOL,
            client=f"affect-client/{__version__}",
            roles=self._roles,
            session=self.session,
            token=self._token,
            resume=Resume(after=self.last_event, run=run) if self._resume else None,
            observations=self._observations,
        )
        await self._send(hello)
        while True:
            message = await self._receive()
            self._keep(message)
            if isinstance(message, Error) and message.fatal:
                await self._open_socket().recv()  # raises ConnectionClosed with the close code
            if isinstance(message, Welcome):
                break
        if self._leave_by is not None:
            await self._send(Bye())
        elif self._consent is not None and self._consent.granted != self.welcome_or_raise().consent:
            await self._send(self._consent)

    def welcome_or_raise(self) -> Welcome:
        """Return the service's welcome; raises before there is one."""
        if self.welcome is None:
            raise AffectError("not connected yet")
        return self.welcome

    def _note(self, message: Any) -> ServerMessage:
        """Remember what a resume needs."""
        if isinstance(message, Welcome):
            self.welcome, self.session = message, message.session
            if not message.resumed:
                self.last_event = 0
        elif isinstance(message, Snapshot) and not self._resume:
            self.last_event = message.seq  # what was before the first hello is history
        elif isinstance(message, Event):
            self.last_event = max(self.last_event, message.event.data.seq)
        elif isinstance(message, Error) and message.code not in self._told_of:
            self._told_of.add(message.code)  # a camera can be wrong thirty times a second
            log.warning("the service says %s: %s", message.code, message.message)
        return message  # type: ignore[no-any-return]
