"""Who gets in: hello, tokens, origins, limits, the HTTP door. Over a real socket, faces faked."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from support.wire import Serve, peer
from websockets.exceptions import InvalidStatus

from affect.service.server import AffectService


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type": "ping"}', 4400),
        ("not json", 4400),
        ('{"type": "hello", "protocol": "affect.v9", "client": "x", "roles": ["tutor"]}', 4426),
        ('{"type": "hello", "protocol": "affect.v1", "client": "x", "roles": []}', 4400),
        (
            '{"type": "hello", "protocol": "affect.v1", "client": "x", "roles": ["tutor"], "session": "../x"}',
            4400,
        ),
        (
            '{"type": "hello", "protocol": "affect.v1", "client": "x", "roles": ["tutor"], "session": "gone", '
            '"resume": {"after": 0}}',
            4404,
        ),
    ],
)
async def test_bad_hello_has_its_close_code(serve: Serve, first: str, code: int) -> None:
    async with serve() as service, peer(service) as p:
        await p.socket.send(first)
        assert await p.closed() == code
        (error,) = p.of("error")
        assert error["fatal"] is True


async def test_hello_timeout(serve: Serve) -> None:
    async with serve({"service": {"hello_timeout_s": 0.2}}) as service, peer(service) as p:
        assert await p.closed() == 4408


async def test_token(serve: Serve) -> None:
    async with serve({"service": {"token": "secret"}}) as service:
        async with peer(service) as p:
            await p.send("hello", protocol="affect.v1", client="x", roles=["tutor"], token="wrong")
            assert await p.closed() == 4401
        async with peer(service) as p:
            await p.hello(token="secret")
        async with peer(service, additional_headers={"Authorization": "Bearer secret"}) as p:
            await p.hello()


async def test_service_without_backend_says_so(serve: Serve) -> None:
    async with serve(engine=None, reason="weights are missing") as service:
        assert (await asyncio.to_thread(_get, service, "/healthz"))[0] == 200
        status, body = await asyncio.to_thread(_get, service, "/readyz")
        assert status == 503
        assert body["reason"] == "weights are missing"
        async with peer(service) as p:
            assert await p.closed() == 4503


async def test_foreign_origin_is_turned_away(serve: Serve) -> None:
    async with serve() as service:
        with pytest.raises(InvalidStatus, match="403"):
            async with peer(service, origin="https://elsewhere.example"):
                pass
        async with peer(service, origin=f"http://127.0.0.1:{service.port}") as p:
            await p.hello()


async def test_http_door(serve: Serve) -> None:
    async with serve() as service:
        status, body = await asyncio.to_thread(_get, service, "/readyz")
        assert (status, body["ready"]) == (200, True)
        assert (await asyncio.to_thread(_get, service, "/etc/passwd"))[0] == 404
        assert (await asyncio.to_thread(_get, service, "/../pyproject.toml"))[0] == 404
        page = await asyncio.to_thread(urllib.request.urlopen, f"{service.url}")
        with page:
            assert b"<!doctype html>" in page.read().lower()
            assert "default-src 'self'" in page.headers["Content-Security-Policy"]


async def test_too_many_sessions(serve: Serve) -> None:
    async with serve({"service": {"max_sessions": 1}}) as service, peer(service) as p, peer(service) as q:
        await p.hello()
        await q.send("hello", protocol="affect.v1", client="x", roles=["tutor"])
        assert await q.closed() == 1013
        assert q.of("error")[0]["code"] == "too_many_sessions"


def _get(service: AffectService, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}") as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.loads(exc.read())


@pytest.mark.parametrize("host", ["[::1", "[", "127.0.0.1]"])
async def test_a_host_that_is_none_is_turned_away(serve: Serve, host: str) -> None:
    async with serve() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert b" 403 " in await reader.readline()
        writer.close()


async def test_who_is_turned_away_is_told_to_the_log_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as service:
        for _ in range(3):
            with pytest.raises(InvalidStatus, match="403"):
                async with peer(service, origin="https://elsewhere.example"):
                    pass
    told = [record.getMessage() for record in caplog.records if record.name == "affect.service.http"]
    assert len(told) == 1
    assert "https://elsewhere.example" in told[0]
    assert "service.origins" in told[0]


async def test_without_a_subprotocol_there_is_no_handshake(serve: Serve) -> None:
    async with serve() as service:
        with pytest.raises(InvalidStatus, match="400"):
            async with peer(service, subprotocols=None):
                pass


async def test_who_only_listens_has_no_other_role(serve: Serve) -> None:
    async with serve() as service, peer(service, subprotocols=["cloudevents.json"]) as p:
        await p.send("hello", protocol="affect.v1", client="x", roles=["learner", "tutor"])
        assert await p.closed() == 4403
        assert p.seen == []  # nothing but CloudEvents, not even the error


async def test_too_many_connections_from_one_address(serve: Serve) -> None:
    async with serve({"service": {"max_connections_per_address": 1}}) as service:
        async with peer(service) as p, peer(service) as q:
            await p.hello()
            assert await q.closed() == 1013
        async with asyncio.timeout(10):
            while service.health()["sockets"]:
                await asyncio.sleep(0.02)
        async with peer(service) as p:
            await p.hello()
