"""The Python client when the network is not: what it was told last must reach the service all the same."""

import asyncio
import re
import ssl
from pathlib import Path

import pytest
from affect_client import AffectClient
from affect_client.client import FINAL_CODES
from support.wire import Serve, peer

from affect.errors import ProtocolError
from affect.service.protocol import Error, Snapshot
from affect.service.server import AffectService


def url(service: AffectService) -> str:
    return f"ws://127.0.0.1:{service.port}/ws"


def cut(client: AffectClient) -> None:
    """Break the connection as a network does: without a word."""
    assert client._socket is not None
    client._socket.transport.abort()


async def consent_is(service: AffectService, name: str, wanted: bool) -> None:
    async with asyncio.timeout(60):
        while service.sessions[name].consent is not wanted:
            await asyncio.sleep(0.02)


async def granted(service: AffectService, client: AffectClient) -> str:
    """Grant consent and wait until the service has it; returns the session's name."""
    name = client.welcome_or_raise().session
    await client.consent()
    await consent_is(service, name, wanted=True)
    return name


async def test_a_consent_revoked_while_the_socket_is_broken_is_revoked(serve: Serve) -> None:
    async with serve() as service, AffectClient(url(service)) as client:
        name = await granted(service, client)
        cut(client)
        await client.consent(False)
        await consent_is(service, name, wanted=False)


async def test_a_grant_is_repeated_to_a_service_that_has_forgotten_it(serve: Serve) -> None:
    async with serve() as service, AffectClient(url(service)) as client:
        name = await granted(service, client)
        cut(client)
        service.sessions[name].set_consent(granted=False)
        await consent_is(service, name, wanted=True)


async def test_a_bye_while_the_socket_is_broken_ends_the_session(serve: Serve) -> None:
    async with serve() as service, AffectClient(url(service)) as client:
        session = service.sessions[client.welcome_or_raise().session]
        await client.consent()
        cut(client)
        await client.bye()
        async with asyncio.timeout(60):
            async for _ in client:  # ends because the service closed for good
                pass
        assert session.ended
        assert not session.consent


async def test_a_message_that_is_too_big_costs_the_socket_not_the_client(serve: Serve) -> None:
    async with serve({"service": {"max_message_bytes": 4096}}) as service, AffectClient(url(service)) as client:
        await client.send_frame(bytes(10_000), 0.0)
        async with asyncio.timeout(60):
            snapshots = 0
            async for message in client:
                snapshots += isinstance(message, Snapshot)
                if snapshots == 2:  # one of each handshake
                    break
        await client.evidence("hint_request")  # would raise if it were over


async def test_no_connection_says_why(unused_tcp_port: int, serve: Serve) -> None:
    with pytest.raises(ProtocolError, match=rf":{unused_tcp_port}/ws within 3 s: .*([Cc]onnect|refused)"):
        async with AffectClient(f"ws://127.0.0.1:{unused_tcp_port}/ws", connect_timeout_s=3):
            pass
    async with serve() as service:
        with pytest.raises(ProtocolError, match="404"):
            async with AffectClient(f"ws://127.0.0.1:{service.port}/elsewhere", connect_timeout_s=3):
                pass


async def test_a_service_that_stops_takes_nobody_back(serve: Serve) -> None:
    async with serve() as service, AffectClient(url(service), backoff_s=(0.01, 0.05)) as client:
        await granted(service, client)
        stopping = asyncio.create_task(service.stop())
        async with asyncio.timeout(60):
            await stopping
        assert all(session.ended for session in service.sessions.values())
        assert len(service.sessions) == 1
    async with serve() as service, peer(service) as p:
        service._stopping = True
        async with peer(service) as late:
            assert await late.closed() == 1001
        await p.hello()  # who was there before is still heard


async def test_a_tutor_whose_session_is_gone_says_hello_anew(serve: Serve) -> None:
    async with (
        serve() as service,
        AffectClient(url(service), roles=["tutor"], session="s-1", backoff_s=(0.01, 0.05)) as client,
    ):
        client.last_event = 57
        del service.sessions["s-1"]
        cut(client)
        async with asyncio.timeout(60):
            while "s-1" not in service.sessions or client.last_event:
                await asyncio.sleep(0.02)
        assert client.welcome_or_raise().session == "s-1"


def test_both_clients_stop_for_good_after_the_codes_of_the_protocol() -> None:
    root = Path(__file__).resolve().parents[2]
    table = (root / "docs" / "protocol.md").read_text("utf-8").split("## Close codes")[1].split("## ")[0]
    lines = [line for line in table.splitlines() if line[:3] in ("| 1", "| 4")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    final = {int(code) for code, _, _, retry in rows if retry.startswith("no")}
    assert final == {1000, 4400, 4401, 4403, 4409, 4426, 4451}
    assert {int(code) for code in FINAL_CODES} == final
    script = (root / "integration" / "affect_web" / "affect-client.js").read_text("utf-8")
    listed = re.search(r"FINAL_CODES = new Set\(\[NORMAL, ([\d, ]+)\]\)", script)
    assert listed
    assert {1000, *map(int, re.findall(r"\d+", listed[1]))} == final
    assert "NORMAL = 1000" in script


async def test_what_the_service_refuses_is_logged_once_a_kind(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as service, AffectClient(url(service)) as client:
        for k in range(3):
            await client.send_frame(b"no picture", k / 5)
        async with asyncio.timeout(60):
            while sum(isinstance(message, Error) for message in list(client._inbox._queue)) < 3:  # type: ignore[attr-defined]
                await asyncio.sleep(0.02)
        assert client.closed is None
    told = [record.getMessage() for record in caplog.records if record.name == "affect_client.client"]
    assert len([line for line in told if "consent_required" in line]) == 1


async def test_a_close_for_good_ends_the_iteration_and_says_why(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as service, AffectClient(url(service), roles=["learner"]) as first:
        name = first.welcome_or_raise().session
        async with AffectClient(url(service), roles=["learner"], session=name):
            assert [message async for message in first.events()] == []
        assert first.closed is not None
        assert "4409" in first.closed
    assert any("4409" in record.getMessage() for record in caplog.records if record.name == "affect_client.client")


async def test_a_certificate_of_ones_own_is_accepted_when_given(certificate: tuple[Path, Path], serve: Serve) -> None:
    table = {"tls_certificate": str(certificate[0]), "tls_key": str(certificate[1])}
    async with serve({"service": table}) as service:
        place = url(service).replace("ws:", "wss:")
        with pytest.raises(ProtocolError, match=r"(?i)certificate"):
            async with AffectClient(place, connect_timeout_s=3):
                pass
        async with AffectClient(place, tls=ssl.create_default_context(cafile=str(certificate[0]))) as client:
            assert client.welcome_or_raise().session
