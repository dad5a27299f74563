"""What an operator sets: TLS, sinks, the page, heartbeats, the length of the ring. Faces are faked."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.wire import Serve, peer
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage
from websockets.typing import Subprotocol

from affect.errors import SettingsError
from affect.labels import LearnerState
from affect.service.protocol import SUBPROTOCOL
from affect.service.server import AffectService


async def test_with_a_certificate_it_speaks_tls_and_nothing_else(serve: Serve, certificate: tuple[Path, Path]) -> None:
    table = {"tls_certificate": str(certificate[0]), "tls_key": str(certificate[1])}
    async with serve({"service": table}) as service:
        assert service.url == f"https://127.0.0.1:{service.port}/"
        trust = ssl.create_default_context(cafile=str(certificate[0]))
        address = f"wss://127.0.0.1:{service.port}/ws"
        async with connect(address, ssl=trust, subprotocols=[Subprotocol(SUBPROTOCOL)]) as socket:
            await socket.send(json.dumps({"type": "hello", "protocol": SUBPROTOCOL, "client": "x", "roles": ["tutor"]}))
            async with asyncio.timeout(10):
                assert json.loads(await socket.recv())["type"] == "welcome"
        with pytest.raises((InvalidMessage, ConnectionError)):
            async with peer(service):
                pass


async def test_events_go_to_the_sinks_that_are_named(serve: Serve, grey_jpeg: bytes, tmp_path: Path) -> None:
    table = {"plugins": {"sinks": ["jsonl"], "jsonl": {"folder": str(tmp_path / "events")}}}
    async with serve(table) as service, peer(service) as p:
        await p.consented(session="s-sink")
        await p.frame(grey_jpeg, 0.0)
        await p.until("event")
        await p.send("bye")
        assert await p.closed() == 1000
        told = [m["event"] for m in p.of("event")]
        async with asyncio.timeout(10):
            while (counts := (await _answer(service, "readyz"))["sinks"])["jsonl"]["written"] < len(told):
                await asyncio.sleep(0.05)
        assert counts == {"jsonl": {"written": len(told), "failed": 0, "dropped": 0}}
        lines = (tmp_path / "events" / "s-sink.events.jsonl").read_text("utf-8").splitlines()
        assert [json.loads(line)["id"] for line in lines] == [event["id"] for event in told]


async def test_stopping_waits_for_the_sinks(serve: Serve, tmp_path: Path) -> None:
    table = {"plugins": {"sinks": ["jsonl"], "jsonl": {"folder": str(tmp_path)}}}
    async with serve(table) as service, peer(service) as p:
        await p.hello(session="s-last")
        for _ in range(50):
            await p.send("correct", state="boredom")
        await p.until("event", lambda m: m["event"]["data"]["seq"] == 50)
    assert len((tmp_path / "s-last.events.jsonl").read_text("utf-8").splitlines()) >= 50


async def _answer(service: AffectService, path: str) -> Any:
    def get() -> Any:
        with urllib.request.urlopen(f"{service.url}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    return await asyncio.to_thread(get)


async def test_a_peer_that_answers_no_ping_is_closed(serve: Serve) -> None:
    async with serve({"service": {"heartbeat_s": 0.2}}) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )
        try:
            async with asyncio.timeout(10):  # hello_timeout_s is as long, and would say so
                said = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        assert said.startswith(b"HTTP/1.1 101")
        assert b"keepalive ping timeout" in said
        assert b"hello_timeout" not in said


async def test_the_page_is_a_folder_or_nothing(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>ours</p>")
    (tmp_path / "secret.pem").write_text("not a file of a page")
    async with serve({"service": {"page": str(tmp_path)}}) as service:
        with await asyncio.to_thread(urllib.request.urlopen, service.url, timeout=10) as answer:
            assert answer.read() == b"<p>ours</p>"
        assert await _status(service, "secret.pem") == 404
    async with serve({"service": {"page": ""}}) as service:
        assert await _status(service, "") == 404
    with pytest.raises(SettingsError, match=r"service\.page 'affect_wbe' is neither"):
        async with serve({"service": {"page": "affect_wbe"}}):
            pass


async def _status(service: AffectService, path: str) -> int:
    def get() -> int:
        try:
            with urllib.request.urlopen(f"{service.url}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code

    return await asyncio.to_thread(get)


async def test_the_ring_keeps_the_last_events(serve: Serve) -> None:
    async with serve({"service": {"ring": 8}}) as service, peer(service) as p:
        await p.hello(session="s-ring")
        for _ in range(20):
            await p.send("correct", state="boredom")
        await p.until("event", lambda m: m["event"]["data"]["seq"] >= 20)
        last = service.sessions["s-ring"].learner.numbering.seq
        async with peer(service) as tutor:
            await tutor.hello(roles=["tutor"], session="s-ring", resume={"after": 0})
            await tutor.until("event", lambda m: m["event"]["data"]["seq"] == last)
            assert [m["event"]["data"]["seq"] for m in tutor.of("event")] == list(range(last - 7, last + 1))


# Peers that do not behave


def knock(service: AffectService) -> socket.socket:
    """Open a websocket by hand and read nothing but the answer to the upgrade."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(10)
    made.connect(("127.0.0.1", service.port))
    made.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
    )
    said = b""
    while not said.endswith(b"\r\n\r\n"):
        said += made.recv(1)
    return made


def masked(text: str, opcode: int = 1) -> bytes:
    """A frame as clients send it, with a mask of zeros."""
    data = text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else bytes([0xFE]) + len(data).to_bytes(2, "big")
    return bytes([0x80 | opcode]) + size + bytes(4) + data


def flood(service: AffectService, opcode: int, text: str, seconds: float) -> socket.socket:
    """Say hello, then send for some seconds without ever reading."""
    deaf = knock(service)
    deaf.sendall(masked(json.dumps({"type": "hello", "protocol": SUBPROTOCOL, "client": "x", "roles": ["tutor"]})))
    until = time.monotonic() + seconds
    with contextlib.suppress(OSError):  # it is cut off at last
        while time.monotonic() < until:
            deaf.sendall(masked(text, opcode) * 50)
    return deaf


async def cut_off(service: AffectService, deaf: socket.socket) -> None:
    """Wait until the service let go of the only socket, whose own end stays open so long."""
    try:
        async with asyncio.timeout(30):
            while service.health()["sockets"]:
                await asyncio.sleep(0.1)
    finally:
        deaf.close()


async def test_who_never_reads_is_cut_off_at_two_megabytes(serve: Serve) -> None:
    async with serve({"service": {"heartbeat_s": 1000}}) as service:
        await cut_off(service, await asyncio.to_thread(flood, service, 9, "x" * 125, 60.0))


async def test_who_never_reads_is_cut_off_after_a_heartbeat(serve: Serve) -> None:
    # No ping of ours goes out any more once the buffer is full, so that none is missed.
    async with serve({"service": {"heartbeat_s": 3, "outbox": 10**6}}) as service:
        deaf = await asyncio.to_thread(flood, service, 1, "", 0.0)  # says hello, no more
        async with asyncio.timeout(30):
            while not service.sessions:
                await asyncio.sleep(0.01)
        (session,) = service.sessions.values()
        for _ in range(8000):  # 1 kB each; buffers of the system take the first megabytes
            session.correct(None, LearnerState.BOREDOM)
        await cut_off(service, deaf)


async def test_a_full_outbox_is_told_and_nothing_is_lost(serve: Serve) -> None:
    async with serve({"service": {"outbox": 8}}) as service:
        async with peer(service) as p:
            await p.hello(roles=["tutor"], session="s-full")
            await p.until("snapshot")
            learner = service.sessions["s-full"]
            for _ in range(10):  # nothing is sent meanwhile
                learner.correct(None, LearnerState.BOREDOM)
            assert await p.closed() == 1013
            (error,) = p.of("error")
            assert (error["code"], error["fatal"]) == ("slow_consumer", True)
            heard = [m["event"]["data"]["seq"] for m in p.of("event")]
        last = learner.learner.numbering.seq
        async with peer(service) as p:
            await p.hello(roles=["tutor"], session="s-full", resume={"after": len(heard)})
            await p.until("event", lambda m: m["event"]["data"]["seq"] == last)
            assert heard + [m["event"]["data"]["seq"] for m in p.of("event")] == list(range(1, last + 1))


async def test_a_defect_costs_one_socket_and_is_logged(
    serve: Serve, grey_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as service, peer(service) as p, peer(service) as q:
        await p.consented(session="s-defect", observations=True)
        learner = service.sessions["s-defect"].learner
        with monkeypatch.context() as patch:
            patch.setattr(learner, "estimate", "no estimate")  # a snapshot of it is impossible
            await q.send("hello", protocol=SUBPROTOCOL, client="x", roles=["tutor"], session="s-defect")
            assert await q.closed() == 1011
            assert q.seen == []
        seq = await p.frame(grey_jpeg, 0.0)
        await p.until("observation", lambda m: m["seq"] == seq)
    (told,) = [record for record in caplog.records if record.name == "affect.service.server"]
    assert told.getMessage() == "connection failed"
    assert told.exc_info is not None


async def test_who_never_reads_does_not_hold_up_the_end(serve: Serve, tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "service": {"heartbeat_s": 1000, "max_messages": 1e6, "outbox": 10**6},
        "plugins": {"sinks": ["jsonl"], "jsonl": {"folder": str(tmp_path)}},
    }
    async with asyncio.timeout(120):
        async with serve(table) as service, peer(service) as p:
            await p.hello(session="s-flushed")  # before the flood, which keeps a slow machine busy
            deaf = await asyncio.to_thread(flood, service, 1, '{"type": "ping", "id": 1}', 3.0)
            stranger = await asyncio.open_connection("127.0.0.1", service.port)
            await p.send("correct", state="boredom")
            await p.until("event", lambda m: m["event"]["data"]["phase"] == "onset", timeout=60)
            await service.stop()
            assert "session_end" in (tmp_path / "s-flushed.events.jsonl").read_text("utf-8")
    deaf.close()
    stranger[1].close()
    with contextlib.suppress(ConnectionError):
        await stranger[1].wait_closed()


async def test_who_was_not_let_in_sends_little(serve: Serve) -> None:
    async with serve() as service:
        async with peer(service) as p:
            await p.socket.send(b"x" * 100_000)
            assert await p.closed() == 1009
        async with peer(service) as p:
            await p.hello()
            await p.socket.send(b"\x01\x01\x00\x02{}" + b"x" * 100_000)
            error = await p.until("error")
            assert "frame header: seq" in error["message"]  # it was read


async def test_messages_are_limited_too(serve: Serve) -> None:
    async with serve({"service": {"max_messages": 1}}) as service, peer(service) as p:
        await p.hello()
        for number in range(30):
            await p.send("ping", id=number)
        assert (await p.until("error"))["code"] == "rate_limited"
        assert 10 <= len(p.of("pong")) < 30


async def test_who_sends_too_much_may_still_revoke(serve: Serve) -> None:
    async with serve({"service": {"max_messages": 0.1}}) as service, peer(service) as p:
        await p.consented()
        for number in range(5):
            await p.send("ping", id=number)
        await p.until("error", lambda m: m["code"] == "rate_limited")
        await p.send("consent", granted=False)
        await p.until("snapshot", lambda m: not m["consent"])
        await p.send("consent", granted=True)
        await p.until("error", lambda m: m["code"] == "rate_limited")
        await p.send("bye")
        assert await p.closed() == 1000


async def test_a_path_that_is_none_is_not_found(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET //[ HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 404")
        writer.close()
        await writer.wait_closed()
    assert "Traceback" not in caplog.text
