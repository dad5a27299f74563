"""The server: sockets in and out, the session table, and the timer that keeps sessions honest."""

import asyncio
import contextlib
import logging
import ssl
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from affect.cloudevents import CloudEvent
from affect.errors import AffectError, ErrorCode, ProtocolError
from affect.fits import new_estimator
from affect.pipeline import FrameEngine
from affect.plugins import PluginHost
from affect.service.auth import check_bind
from affect.service.connection import MAX_TEXT, Connection, close
from affect.service.http import HttpDoor
from affect.service.protocol import LISTEN_SUBPROTOCOL, SUBPROTOCOL, CloseCode
from affect.service.session import ServiceSession
from affect.session import new_session
from affect.settings import Settings
from affect.sinks import SinkFanout

log = logging.getLogger(__name__)

_TOLD = 100
"""Clients that are logged, each once: the log is not theirs to fill, and no record of who came when."""
_TIMER_S = 1.0
_STOP_S = 2.0
_WRITE_LIMIT = 2**17  # bytes that wait for a peer before we wait for it too
_DEAF_BYTES = 16 * _WRITE_LIMIT  # pongs wait without a limit: this much and the peer does not read


class AffectService:
    """The websocket service.

    Args:
        settings: Everything.
        host: Plugins.
        engine: Where frames go; None while the backend is unavailable, with `reason`.
        reason: Why there is no engine.

    Raises:
        SettingsError: The bind is public and not protected.
        PluginError: A named sink or the estimator is unknown.
        CheckpointError: The estimator's fit is damaged, or of other weights than the backend's.
    """

    def __init__(self, settings: Settings, host: PluginHost, engine: FrameEngine | None, reason: str = "") -> None:
        check_bind(settings.service)
        new_estimator(settings, host)  # a wrong table or fit should stop the start, not the first hello
        self.settings, self.host, self.engine, self.reason = settings, host, engine, reason
        self.sessions: dict[str, ServiceSession] = {}
        self._sinks = SinkFanout(host)
        self._clients: set[tuple[str, str]] = set()
        self._per_address: Counter[str] = Counter()
        self._sockets: set[ServerConnection] = set()
        self._deaf_since: dict[ServerConnection, float] = {}
        self._door = HttpDoor(settings.service, self.health)
        self._server: Server | None = None
        self._timer: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def url(self) -> str:
        """Address of the page."""
        service = self.settings.service
        scheme = "https" if service.tls_certificate else "http"
        host = f"[{service.host}]" if ":" in service.host else service.host
        return f"{scheme}://{host}:{self.port}/"

    @property
    def unavailable(self) -> str:
        """Why no frame can be analysed, or ""."""
        if self.engine is None:
            return self.reason or "there is no engine"
        return self.engine.broken

    def health(self) -> dict[str, object]:
        """What `/readyz` says; ready when there is an engine that works."""
        reason = self.unavailable
        return {
            "ready": not reason,
            "reason": reason,
            "sessions": len(self.sessions),
            "sockets": len(self._sockets),
            "sinks": self._sinks.counts(),
        }

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address is taken.
        """
        service = self.settings.service
        context = None
        if service.tls_certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(service.tls_certificate, service.tls_key)
        self._server = await serve(
            self._accept,
            service.host,
            service.port,
            ssl=context,
            process_request=self._door.answer,
            subprotocols=[SUBPROTOCOL, LISTEN_SUBPROTOCOL],  # type: ignore[list-item]
            compression=None,  # pictures do not compress, and events are short
            max_size=MAX_TEXT,  # until `hello` was accepted
            max_queue=4,
            write_limit=_WRITE_LIMIT,
            open_timeout=service.hello_timeout_s,
            ping_interval=service.heartbeat_s,
            ping_timeout=service.heartbeat_s,
            close_timeout=2,
            server_header=None,
        )
        self._timer = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """End all sessions, tell every socket, close; whoever connects meanwhile is sent away."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timer
        for name, session in self.sessions.items():
            try:
                session.end(CloseCode.GOING_AWAY, "the service stops")
            except Exception:  # an estimator plugin may raise; the others end all the same
                log.exception("session %s failed", name)
        for _ in range(20):  # the sockets send their offsets and close themselves
            if not self._sockets:
                break
            await asyncio.sleep(0.05)
        await asyncio.to_thread(self._sinks.close)  # before anything that a peer could hold up
        if self._server is not None:
            self._server.close(code=CloseCode.GOING_AWAY, reason="service stops")
            try:
                await asyncio.wait_for(self._server.wait_closed(), _STOP_S)
            except TimeoutError:  # a peer that does not read, or one that never asked for anything
                for socket in self._sockets:
                    socket.transport.abort()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["AffectService"]:
        """Start, and stop at the end of the block."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    def open_session(self, name: str | None) -> ServiceSession:
        """Return the session of a name, or a new one.

        Raises:
            ProtocolError: There are too many sessions.
        """
        name = name or uuid.uuid4().hex[:16]
        existing = self.sessions.get(name)
        if existing is not None and not existing.ended:
            return existing
        if existing is None and len(self.sessions) >= self.settings.service.max_sessions:
            raise ProtocolError(
                f"{len(self.sessions)} sessions are open, which is the most (service.max_sessions)",
                code=ErrorCode.TOO_MANY_SESSIONS,
            )
        if self.engine is None or self.engine.broken:
            raise AffectError(self.unavailable, code=ErrorCode.BACKEND_UNAVAILABLE)
        learner = new_session(name, self.settings, self.host)
        session = ServiceSession(learner, self.engine, self.settings.service, self._publish)
        self.sessions[name] = session
        return session

    def welcomed(self, client: str, roles: Iterable[str]) -> None:
        """Log which client was let in as what; nothing of its session."""
        told = client, "+".join(sorted(set(roles)))
        if told not in self._clients and len(self._clients) < _TOLD:
            self._clients.add(told)
            log.info("client %r as %s", *told)

    def _publish(self, session: str, event: CloudEvent) -> None:
        self._sinks.write(session, event.model_dump(mode="json"))

    async def _accept(self, socket: ServerConnection) -> None:
        peer = socket.remote_address
        address = str(peer[0]) if peer else "unknown"
        if self._stopping:
            await close(socket, CloseCode.GOING_AWAY, "the service stops")
            return
        if self._per_address[address] >= self.settings.service.max_connections_per_address:
            await close(socket, CloseCode.TRY_LATER, "too many connections from this address")
            return
        self._per_address[address] += 1
        self._sockets.add(socket)
        try:
            await Connection(self, socket).run()
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("connection failed")
            await close(socket, CloseCode.INTERNAL, "internal error")
        finally:
            self._sockets.discard(socket)
            self._deaf_since.pop(socket, None)
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]  # nobody needs to know who was here

    async def _tick(self) -> None:
        """Once a second: time passes in every session; forgotten ones end."""
        while True:
            await asyncio.sleep(_TIMER_S)
            now = time.monotonic()
            self._drop_deaf(now)
            for name, session in list(self.sessions.items()):
                try:
                    session.tick()
                except Exception:  # an estimator plugin may raise; the session must expire all the same
                    log.exception("session %s failed", name)
                try:
                    idle = session.idle_since
                    if idle is not None and (session.ended or now - idle >= self.settings.service.resume_s):
                        session.end()
                        del self.sessions[name]
                except Exception:
                    log.exception("session %s failed", name)

    def _drop_deaf(self, now: float) -> None:
        """Cut off peers that do not read: neither a close nor a ping of ours would ever reach them."""
        for socket in self._sockets:
            waiting = socket.transport.get_write_buffer_size()
            if waiting <= _WRITE_LIMIT:
                self._deaf_since.pop(socket, None)
                continue
            since = self._deaf_since.setdefault(socket, now)
            if waiting > _DEAF_BYTES or now - since >= self.settings.service.heartbeat_s:
                socket.transport.abort()
