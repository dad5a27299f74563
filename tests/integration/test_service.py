"""What an operator sets: TLS, sinks, the page, heartbeats, the length of the ring. Faces are faked."""

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
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
from affect.service.protocol import SUBPROTOCOL
from affect.service.server import AffectService


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", names[0], "-keyout", names[1]],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return names


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
        assert said.startswith(b"HTTP/1.1 101")
        assert b"keepalive ping timeout" in said
        assert b"hello_timeout" not in said


async def test_the_page_is_a_folder_or_nothing(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>ours</p>")
    (tmp_path / "secret.pem").write_text("not a file of a page")
    async with serve({"service": {"page": str(tmp_path)}}) as service:
        with await asyncio.to_thread(urllib.request.urlopen, service.url) as answer:
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
