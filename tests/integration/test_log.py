"""What the service logs, and that it logs nothing else: nobody learns from it who was there and what they felt."""

import logging

import pytest
from support.wire import Serve, peer, surprise


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our own loggers said."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("affect")]


async def test_a_session_leaves_only_its_client_in_the_log(
    serve: Serve, grey_jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"service": {"max_skew_s": 100, "status_s": 0.1}}
    with caplog.at_level(logging.DEBUG, "affect"):
        async with serve(settings) as service, peer(service) as p, peer(service) as refused:
            await p.hello(session="s-anna", observations=True)
            await p.frame(grey_jpeg, 0.0)
            await p.until("error", lambda m: m["code"] == "consent_required")
            await p.send("consent", granted=True, context="research", purpose="a study of Anna")
            await p.frame(b"no picture", 0.1)
            await p.until("error", lambda m: m["code"] == "unsupported_media")
            await surprise(p, grey_jpeg, start=1.0)
            assert "onset" in [m["event"]["data"]["phase"] for m in p.of("event")]
            await p.send("evidence", kind="typed_frustration")
            await p.send("evidence", kind="Anna yawns")
            await p.until("error", lambda m: m["code"] == "unknown_name")
            await p.until("status")
            await p.send("bye", reason="Anna is tired")
            assert await p.closed() == 1000
            await refused.hello(session="s-ben")
            await refused.send("consent", granted=True, context="workplace", jurisdiction="DE")
            assert await refused.closed() == 4451
    assert logged(caplog) == ["client 'test' as learner+tutor"]


async def test_clients_are_logged_once_each_and_escaped(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "affect"):
        async with serve({"service": {"token": "secret"}}) as service:
            for session in ("s-anna", "s-ben"):
                async with peer(service) as p:
                    roles = ["tutor", "learner", "tutor"]
                    await p.hello(client="my\n\x1b[2Jtutor/1", roles=roles, session=session, token="secret")
            async with peer(service) as p:
                await p.hello(client="camera/2", roles=["learner"], token="secret")
            async with peer(service) as p:
                await p.send("hello", protocol="affect.v1", client="stranger/3", roles=["tutor"])
                assert await p.closed() == 4401
    assert logged(caplog) == [r"client 'my\n\x1b[2Jtutor/1' as learner+tutor", "client 'camera/2' as learner"]


async def test_no_client_fills_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "affect"):
        async with serve() as service:
            for number in range(150):
                service.welcomed(f"client/{number}", ["tutor"])
    assert len(logged(caplog)) == 100


async def test_a_defect_is_logged_with_its_session_and_trace(
    serve: Serve, grey_jpeg: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(session="s-named", observations=True)
        learner = service.sessions["s-named"].learner
        monkeypatch.setattr(learner.model.estimator, "observe", lambda *_: 1 / 0)
        await p.frame(grey_jpeg, 0.0)
        await p.until("error", lambda m: m["code"] == "internal")
    assert logged(caplog) == ["session s-named: the learner model failed"]
    assert caplog.records[0].exc_info is not None
