"""A client that speaks the protocol by hand."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from affect.service.framing import pack_frame
from affect.service.protocol import SUBPROTOCOL, FrameHeader
from affect.service.server import AffectService

Serve = Callable[..., AbstractAsyncContextManager[AffectService]]


class Peer:
    """A client that speaks the protocol by hand, so that the tests see what is on the wire."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []
        self.seq = 0

    async def send(self, type_: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type_, **fields}))

    async def hello(self, **fields: Any) -> dict[str, Any]:
        """Shake hands; returns the welcome."""
        message = {"protocol": SUBPROTOCOL, "client": "test", "roles": ["learner", "tutor"], **fields}
        await self.send("hello", **message)
        return await self.until("welcome")

    async def consented(self, **fields: Any) -> dict[str, Any]:
        """Shake hands and grant consent."""
        welcome = await self.hello(**fields)
        await self.send("consent", granted=True)
        await self.until("snapshot", lambda m: m["consent"])
        return welcome

    async def frame(self, image: bytes, t: float, seq: int | None = None, media: str = "image/jpeg") -> int:
        """Send a frame; returns its seq."""
        self.seq = self.seq + 1 if seq is None else seq
        await self.socket.send(pack_frame(FrameHeader(seq=self.seq, t=t, media=media), image))  # type: ignore[arg-type]
        return self.seq

    async def until(
        self, type_: str, wanted: Callable[[dict[str, Any]], bool] = lambda _: True, timeout: float = 10.0
    ) -> dict[str, Any]:
        """Read until a message of a type fits; everything read is kept in `seen`."""
        async with asyncio.timeout(timeout):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.recv())
                self.seen.append(message)
                if message["type"] == type_ and wanted(message):
                    return message

    async def closed(self, timeout: float = 10.0) -> int:
        """Read to the end; returns the close code."""
        async with asyncio.timeout(timeout):
            with contextlib.suppress(ConnectionClosed):
                async for data in self.socket:
                    self.seen.append(json.loads(data))
        assert self.socket.close_code is not None
        return self.socket.close_code

    def of(self, type_: str) -> list[dict[str, Any]]:
        """Messages of a type seen so far."""
        return [m for m in self.seen if m["type"] == type_]


@asynccontextmanager
async def peer(service: AffectService, path: str = "/ws", **options: Any) -> AsyncIterator[Peer]:
    """Connect to a service."""
    options = {"subprotocols": [Subprotocol(SUBPROTOCOL)], "compression": None, **options}
    async with connect(f"ws://127.0.0.1:{service.port}{path}", **options) as socket:
        yield Peer(socket)


async def surprise(p: Peer, image: bytes, start: float = 0.0, seconds: float = 6.0) -> None:
    """Send five frames a second on the frames' own clock, each after the answer to the last."""
    for k in range(int(seconds * 5)):
        seq = await p.frame(image, start + k / 5)
        while (await p.until("observation"))["seq"] != seq:
            pass
