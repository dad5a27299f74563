"""Who gets in: hello, tokens, origins, limits, the HTTP door. Over a real socket, faces faked."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from support.engine import Engine
from support.wire import Peer, Serve, peer
from websockets.exceptions import InvalidStatus

from affect.plugins import PluginHost
from affect.service.server import AffectService
from affect.settings import PluginSettings


def first(**fields: Any) -> str:
    """A hello that would be accepted, but for these fields."""
    return json.dumps({"type": "hello", "protocol": "affect.v1", "client": "x", "roles": ["tutor"], **fields})


@pytest.mark.parametrize(
    ("said", "close", "code"),
    [
        ('{"type": "ping"}', 4400, "bad_hello"),
        (b"\x01\x01\x00\x02{}", 4400, "bad_hello"),
        ("not json", 4400, "bad_message"),
        ('{"type": "hallo"}', 4400, "unknown_type"),
        (first(protocol="affect.v9"), 4426, "version"),
        (first(roles=[]), 4400, "bad_message"),
        (first(session="../x"), 4400, "bad_message"),
        (first(client="x" * 201), 4400, "bad_message"),
        (first(session="gone", resume={"after": 0}), 4404, "no_session"),
    ],
)
async def test_a_bad_hello_has_its_codes(serve: Serve, said: str | bytes, close: int, code: str) -> None:
    async with serve() as service, peer(service) as p:
        await p.socket.send(said)
        await refused(p, close, code)


async def refused(p: Peer, close: int, code: str) -> None:
    """It is told why, and nothing else, then closed."""
    assert await p.closed() == close
    assert [(m["type"], m["code"], m["fatal"]) for m in p.seen] == [("error", code, True)]


async def test_hello_timeout(serve: Serve) -> None:
    async with serve({"service": {"hello_timeout_s": 1.0}}) as service, peer(service) as p:
        await refused(p, 4408, "hello_timeout")


async def test_token(serve: Serve) -> None:
    async with serve({"service": {"token": "secret"}}) as service:
        async with peer(service) as p:
            await p.socket.send(first(token="wrong"))
            await refused(p, 4401, "unauthorized")
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
            await refused(p, 4503, "backend_unavailable")


async def test_an_estimator_that_cannot_be_made_any_more_refuses_its_session(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        settings = PluginSettings.model_validate({"hmm": {"tau_c_s": -1}})
        service.host = PluginHost(settings)  # at the start it would have been noticed
        await p.socket.send(first())
        await refused(p, 1011, "bad_setting")


async def test_a_service_whose_gpu_broke_is_not_ready_and_lets_nobody_in(serve: Serve, fake_engine: Engine) -> None:
    async with serve() as service, peer(service) as p:
        assert (await asyncio.to_thread(_get, service, "/readyz"))[0] == 200
        fake_engine.broken = "cuda:0 cannot be used any more: CUDA error"
        status, body = await asyncio.to_thread(_get, service, "/readyz")
        assert (status, body["ready"], body["reason"]) == (503, False, fake_engine.broken)
        await p.send("hello", protocol="affect.v1", client="x", roles=["learner"])
        assert await p.closed() == 4503
        async with peer(service) as q:
            assert await q.closed() == 4503
            assert q.of("error")[0]["message"] == fake_engine.broken


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
        page = await asyncio.to_thread(urllib.request.urlopen, service.url, timeout=10)
        with page:
            assert b"<!doctype html>" in page.read().lower()
            words = [rule.split() for rule in page.headers["Content-Security-Policy"].split(";")]
    rules = {name: set(allowed) for name, *allowed in words}
    assert rules["default-src"] == {"'self'"}
    assert rules["connect-src"] == {"'self'", "ws:", "wss:"}  # no other host but by websocket
    assert rules["frame-ancestors"] == {"'none'"}


async def test_too_many_sessions(serve: Serve) -> None:
    async with serve({"service": {"max_sessions": 1}}) as service, peer(service) as p, peer(service) as q:
        await p.hello()
        await q.socket.send(first())
        await refused(q, 1013, "too_many_sessions")


def _get(service: AffectService, path: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}", timeout=10) as answer:
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
        await p.socket.send(first(roles=["learner", "tutor"]))
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
