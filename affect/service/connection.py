"""One socket: hello, then a reader that takes messages and a writer that empties the outbox."""

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from affect.errors import AffectError, ErrorCode, PolicyError, ProtocolError
from affect.labels import EMOTIONS, STATES
from affect.service.auth import token_accepted
from affect.service.bucket import TokenBucket
from affect.service.framing import unpack_frame
from affect.service.outbox import Outbox, OutboxFullError
from affect.service.policy import check_consent
from affect.service.protocol import (
    CLIENT_ADAPTER,
    LISTEN_SUBPROTOCOL,
    SUBPROTOCOL,
    Bye,
    CloseCode,
    Consent,
    Correct,
    Error,
    Event,
    Evidence,
    Hello,
    Limits,
    Ping,
    Pong,
    Server,
    ServerMessage,
    Welcome,
)
from affect.service.session import ServiceSession
from affect.version import __version__

if TYPE_CHECKING:
    from affect.service.server import AffectService

_CLOSE_S = 1.0  # how long a peer may take to read our last words
_SHORT = 1024  # characters; so much is read even of who sends too many
MAX_TEXT = 65_536  # characters; refused before it is parsed, since every wrong item of a long list costs memory

_CLOSE_OF = {
    ErrorCode.BAD_HELLO: CloseCode.BAD_HELLO,
    ErrorCode.BAD_MESSAGE: CloseCode.BAD_HELLO,
    ErrorCode.UNKNOWN_TYPE: CloseCode.BAD_HELLO,
    ErrorCode.HELLO_TIMEOUT: CloseCode.HELLO_TIMEOUT,
    ErrorCode.VERSION: CloseCode.VERSION,
    ErrorCode.UNAUTHORIZED: CloseCode.UNAUTHORIZED,
    ErrorCode.NOT_ALLOWED: CloseCode.FORBIDDEN,
    ErrorCode.NO_SESSION: CloseCode.NO_SESSION,
    ErrorCode.TOO_MANY_SESSIONS: CloseCode.TRY_LATER,
    ErrorCode.BACKEND_UNAVAILABLE: CloseCode.BACKEND_UNAVAILABLE,
    ErrorCode.POLICY_REFUSED: CloseCode.POLICY,
    ErrorCode.SLOW_CONSUMER: CloseCode.TRY_LATER,
}


class _UnreadableError(ProtocolError):
    """A text message that cannot be read; `ref` is its type as far as that could be."""

    def __init__(self, message: str, code: ErrorCode, ref: str | None = None) -> None:
        super().__init__(message, code=code)
        self.ref = ref


async def close(socket: ServerConnection, code: CloseCode, reason: str) -> None:
    """Close a socket; a peer that does not read is cut off."""
    try:
        async with asyncio.timeout(_CLOSE_S):
            await socket.close(code, reason.encode()[:120].decode(errors="ignore"))
    except TimeoutError:
        socket.transport.abort()


class Connection:
    """Serves one socket until it closes.

    Args:
        service: The session table and settings.
        socket: An accepted websocket.
    """

    def __init__(self, service: "AffectService", socket: ServerConnection) -> None:
        self._service, self._socket = service, socket
        self._settings = service.settings
        self._outbox = Outbox(self._settings.service.outbox)
        self._session: ServiceSession | None = None
        self._hello: Hello | None = None
        self._end: asyncio.Future[AffectError | tuple[CloseCode, str]] = asyncio.get_running_loop().create_future()
        rate = self._settings.service.max_messages
        self._texts = TokenBucket(rate, max(10 * rate, 1.0))
        self._plain = socket.subprotocol == LISTEN_SUBPROTOCOL

    async def run(self) -> None:
        """Shake hands, then read and write until the socket closes or a fatal error."""
        try:
            await self._shake_hands()
        except AffectError as exc:
            await self._close_with(exc)
            return
        assert self._session is not None
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        try:
            waiting: list[asyncio.Future[Any]] = [reader, writer, self._end]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if self._end.done():
                end = self._end.result()
                if isinstance(end, AffectError):
                    await self._close_with(end)
                else:
                    self._outbox.close()
                    await asyncio.wait([writer], timeout=_CLOSE_S)
                    await close(self._socket, *end)
        finally:
            self._session.leave(self)
            reader.cancel()
            writer.cancel()
            results = await asyncio.gather(reader, writer, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ConnectionClosed):
                raise result

    def take(self, message: ServerMessage) -> None:
        """Queue a session's message: tutors get events, everybody the rest."""
        if not isinstance(message, Event) or "tutor" in self._roles:
            self._send(message)

    def finish(self, code: CloseCode, reason: str) -> None:
        """Send what is queued, then close."""
        if not self._end.done():
            self._end.set_result((code, reason))

    # Handshake

    async def _shake_hands(self) -> None:
        service = self._settings.service
        if reason := self._service.unavailable:
            raise AffectError(reason, code=ErrorCode.BACKEND_UNAVAILABLE)
        try:
            first = await asyncio.wait_for(self._socket.recv(), service.hello_timeout_s)
        except TimeoutError:
            raise ProtocolError(
                f"no hello within {service.hello_timeout_s:g} s", code=ErrorCode.HELLO_TIMEOUT
            ) from None
        message = _parse(first) if isinstance(first, str) else None
        if not isinstance(message, Hello):
            raise ProtocolError("the first message must be `hello`", code=ErrorCode.BAD_HELLO)
        if message.protocol != SUBPROTOCOL:
            raise ProtocolError(f"protocol {message.protocol!r}, this is {SUBPROTOCOL}", code=ErrorCode.VERSION)
        offered = message.token or _bearer(self._socket)
        if not token_accepted(service, offered):
            raise ProtocolError("the token is missing or wrong", code=ErrorCode.UNAUTHORIZED)
        if self._plain and message.roles != ["tutor"]:
            raise ProtocolError(f"{LISTEN_SUBPROTOCOL} only listens: roles must be [tutor]", code=ErrorCode.NOT_ALLOWED)
        self._hello = message
        existing = self._service.sessions.get(message.session or "")
        known = existing is not None and not existing.ended
        resume = message.resume
        if resume is not None and not known and "learner" not in message.roles:
            raise ProtocolError(f"no session {message.session!r} to resume", code=ErrorCode.NO_SESSION)
        session = self._service.open_session(message.session)
        self._session = session
        self._service.welcomed(message.client, message.roles)
        same_run = resume is not None and resume.run in (None, session.learner.numbering.run)
        self._socket.protocol.max_message_size = service.max_message_bytes  # who is let in may send pictures
        self._greet(session, message, resumed=known and same_run)

    def _greet(self, session: ServiceSession, hello: Hello, *, resumed: bool) -> None:
        settings = self._settings
        self._send(
            Welcome(
                session=session.name,
                server=Server(name="tutor-affect", version=__version__),
                backend=settings.inference.backend_word,
                detector=settings.vision.detector,
                labels=[e.value for e in EMOTIONS],
                states=[s.value for s in STATES],
                evidence=list(session.learner.model.estimator.kinds),
                limits=Limits(
                    max_message_bytes=settings.service.max_message_bytes,
                    max_pixels=settings.vision.max_pixels,
                    min_side=settings.vision.min_side,
                    max_fps=settings.service.max_fps,
                ),
                heartbeat_s=settings.service.heartbeat_s,
                consent=session.consent,
                context=settings.service.context,
                jurisdiction=settings.service.jurisdiction,
                run=session.learner.numbering.run,
                resumed=resumed,
            )
        )
        self._send(session.snapshot())
        if hello.resume is not None and "tutor" in hello.roles:
            # Numbers of another run mean nothing here: then everything is news.
            for event in session.missed(hello.resume.after if resumed else 0):
                self._send(event)
        session.listen(self, learner="learner" in hello.roles, observations=hello.observations)

    # Reading

    async def _read(self) -> None:
        assert self._session is not None
        async for data in self._socket:
            message = None
            try:
                if isinstance(data, str):
                    allowed = self._texts.take()
                    message = _parse(data) if allowed or len(data) < _SHORT else None
                    if not allowed and not _always_heard(message):
                        raise ProtocolError(
                            f"more than {self._settings.service.max_messages:g} messages a second",
                            code=ErrorCode.RATE_LIMITED,
                        )
                    self._handle(message)
                else:
                    self._frame(data)
            except PolicyError as exc:
                if exc.code is ErrorCode.POLICY_REFUSED:
                    self._session.set_consent(granted=False)  # an earlier grant does not outlive the refusal
                    self._session.broadcast_snapshot()
                    self._fail(exc)
                    return
                self._send(_error(exc, getattr(message, "type", None)))
            except _UnreadableError as exc:
                self._send(_error(exc, exc.ref))
            except AffectError as exc:
                self._send(_error(exc, getattr(message, "type", None)))
            del data  # a picture must not stay until the next message comes

    def _handle(self, message: object) -> None:
        assert self._session is not None
        match message:
            case Consent():
                self._require("learner", "consent")
                if self._replaced:
                    return
                check_consent(message, self._settings.service)
                self._session.set_consent(granted=message.granted)
                self._session.broadcast_snapshot()
            case Evidence():
                self._session.host(message.t, message.kind)
            case Correct():
                self._session.correct(message.t, message.state)
            case Ping():
                self._send(Pong(id=message.id))
            case Bye():
                if "learner" in self._roles:
                    if not self._replaced:
                        self._session.end()
                else:
                    self.finish(CloseCode.NORMAL, "bye")
            case _:
                raise ProtocolError("`hello` comes once, at the start", code=ErrorCode.BAD_MESSAGE)

    def _frame(self, data: bytes) -> None:
        assert self._session is not None
        self._require("learner", "frames")
        if self._replaced:
            return
        header, image = unpack_frame(data)
        try:
            self._session.push(header, image)
        except AffectError as exc:
            self._send(_error(exc, header.seq))

    @property
    def _roles(self) -> list[str]:
        assert self._hello is not None
        return list(self._hello.roles)

    @property
    def _replaced(self) -> bool:
        """Whether this learner has a newer socket: what is still on its way here is late."""
        return self._session is not None and self._session.learner_socket is not self

    def _require(self, role: str, what: str) -> None:
        if role not in self._roles:
            raise ProtocolError(
                f"{what} need the role {role}, this socket has {self._roles}", code=ErrorCode.NOT_ALLOWED
            )

    # Writing

    def _send(self, message: ServerMessage) -> None:
        if self._plain and not isinstance(message, Event):
            return
        try:
            self._outbox.put(message)
        except OutboxFullError:
            self._fail(
                ProtocolError(
                    f"{len(self._outbox)} messages wait for this consumer; connect again and resume",
                    code=ErrorCode.SLOW_CONSUMER,
                )
            )

    async def _write(self) -> None:
        while (message := await self._outbox.get()) is not None:
            await self._socket.send(self._encode(message))

    def _encode(self, message: ServerMessage) -> str:
        if self._plain and isinstance(message, Event):
            return message.event.model_dump_json()
        return message.model_dump_json()

    def _fail(self, error: AffectError) -> None:
        if not self._end.done():
            self._end.set_result(error)

    async def _close_with(self, error: AffectError) -> None:
        """Say why, then close; a peer that does not read is cut off."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                if not self._plain:
                    await self._socket.send(_error(error, fatal=True).model_dump_json())
        except (TimeoutError, ConnectionClosed):
            self._socket.transport.abort()
        await close(self._socket, _CLOSE_OF.get(error.code, CloseCode.INTERNAL), error.message)


def _always_heard(message: object) -> bool:
    """Whether a message counts even from who sends too many: nobody is kept from leaving."""
    return isinstance(message, Bye) or (isinstance(message, Consent) and not message.granted)


def _parse(text: str) -> object:
    """Read one JSON message.

    Raises:
        _UnreadableError: Too long, not JSON, an unknown type, or wrong fields; names the first.
    """
    if len(text) > MAX_TEXT:
        raise _UnreadableError(
            f"a text message has at most {MAX_TEXT} characters, this one {len(text)}", ErrorCode.BAD_MESSAGE
        )
    try:
        message: object = CLIENT_ADAPTER.validate_json(text)
    except ValidationError as exc:
        first = exc.errors()[0]
        unknown = first["type"] in ("union_tag_invalid", "union_tag_not_found")
        where = ".".join(str(part) for part in first["loc"]) or "message"
        code = ErrorCode.UNKNOWN_TYPE if unknown else ErrorCode.BAD_MESSAGE
        ref = str(first["loc"][0]) if first["loc"] and not unknown else None
        raise _UnreadableError(f"{where}: {first['msg']}", code, ref) from exc
    return message


def _error(exc: AffectError, ref: int | str | None = None, *, fatal: bool = False) -> Error:
    return Error(code=exc.code, message=exc.message, fatal=fatal, ref=ref)


def _bearer(socket: ServerConnection) -> str | None:
    header = socket.request.headers.get("Authorization", "") if socket.request else ""
    kind, _, token = header.partition(" ")
    return token.strip() if kind.lower() == "bearer" else None
