"""Sessions over time: sharing, resuming, clocks, absence, ends. Over a real socket, faces faked."""

import asyncio

import pytest
from support.wire import Serve, peer, surprise

from affect.service.protocol import CLIENT_ADAPTER


async def test_absence_is_told_without_any_frame(serve: Serve, grey_jpeg: bytes) -> None:
    settings = {"learner": {"absent_s": 1.0}}
    async with serve(settings) as service, peer(service) as p:
        await p.consented()
        await p.frame(grey_jpeg, 0.0)
        await p.until("event", lambda m: m["event"]["data"]["phase"] == "present")
        gone = await p.until("event", lambda m: m["event"]["data"]["phase"] == "absent")
        assert gone["event"]["type"] == "org.tutor-affect.learner.presence.absent.v1"


async def test_two_sockets_share_a_session(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.hello(roles=["learner"], session="s-1")
        welcome = await tutor.hello(roles=["tutor"], session="s-1")
        assert welcome["session"] == "s-1"
        await tutor.frame(grey_jpeg, 0.0)
        assert (await tutor.until("error"))["code"] == "not_allowed"
        await tutor.send("consent", granted=True)
        assert (await tutor.until("error"))["code"] == "not_allowed"
        await learner.send("consent", granted=True)
        await learner.frame(grey_jpeg, 0.0)
        event = await tutor.until("event")
        assert event["event"]["data"]["state"] == "presence"
        await learner.send("bye")
        assert await learner.closed() == 1000
        assert await tutor.closed() == 1000
        assert learner.of("event") == []


async def test_resume_replays_what_was_missed(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 100}}) as service:
        async with peer(service) as p:
            await p.consented(observations=True, session="s-2")
            await p.frame(grey_jpeg, 0.0)
            first = await p.until("event")
        async with peer(service) as learner:
            await learner.hello(roles=["learner"], session="s-2", observations=True)
            await surprise(learner, grey_jpeg, start=1.0)
        async with peer(service) as p:
            welcome = await p.hello(session="s-2", resume={"after": first["event"]["data"]["seq"]})
            assert welcome["resumed"] is True
            assert welcome["consent"] is True
            missed = await p.until("event")
            assert missed["replayed"] is True
            assert missed["event"]["data"]["seq"] == first["event"]["data"]["seq"] + 1


async def test_without_resume_nothing_is_replayed(serve: Serve) -> None:
    async with serve() as service, peer(service) as p, peer(service) as late:
        await p.hello(session="s-15")
        await p.send("correct", state="boredom")
        last = (await p.until("event", lambda m: m["event"]["data"]["phase"] == "onset"))["event"]["data"]["seq"]
        await late.hello(session="s-15", roles=["tutor"])
        assert (await late.until("snapshot"))["seq"] == last
        await late.send("ping")
        await late.until("pong")
        assert late.of("event") == []


async def test_a_learner_who_comes_back_may_count_anew(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service:
        async with peer(service) as p:
            await p.consented(observations=True, session="s-3")
            await p.frame(grey_jpeg, 1000.0, seq=900)
            await p.until("observation")
        async with peer(service) as p:
            await p.consented(observations=True, session="s-3")
            await p.frame(grey_jpeg, 0.5, seq=1)
            again = await p.until("observation")
            assert again["t"] >= 1000.0  # the session's clock runs on


async def test_a_second_learner_socket_replaces_the_first(serve: Serve) -> None:
    async with serve() as service, peer(service) as old, peer(service) as new:
        await old.hello(session="s-4")
        await new.hello(session="s-4")
        assert await old.closed() == 4409
        (error,) = old.of("error")
        assert (error["code"], error["fatal"]) == ("replaced", True)


async def test_resume_of_another_run_gets_everything(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.consented(session="s-6", observations=True)
        await learner.frame(grey_jpeg, 0.0)
        await learner.until("event")
        welcome = await tutor.hello(roles=["tutor"], session="s-6", resume={"after": 57, "run": "of-an-earlier-life"})
        assert welcome["resumed"] is False
        assert (await tutor.until("event"))["event"]["data"]["seq"] == 1


async def test_a_long_absence_does_not_overflow_the_outbox(serve: Serve) -> None:
    async with serve({"service": {"outbox": 16}}) as service, peer(service) as p:
        await p.hello(session="s-7")
        for _ in range(60):
            await p.send("correct", state="boredom")
            await p.until("event", lambda m: m["event"]["data"]["phase"] == "corrected")
        async with peer(service) as tutor:
            await tutor.hello(roles=["tutor"], session="s-7", resume={"after": 0})
            last = service.sessions["s-7"].learner.numbering.seq
            await tutor.until("event", lambda m: m["event"]["data"]["seq"] == last)
            assert len(tutor.of("event")) == last


async def test_a_returning_learner_may_have_a_clock_that_is_ahead(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service:
        async with peer(service) as p:
            await p.consented(observations=True, session="s-8")
            await p.frame(grey_jpeg, 10.0)
            await p.until("observation")
        async with peer(service) as p:
            await p.consented(observations=True, session="s-8")
            await p.frame(grey_jpeg, 3600.0)
            assert 10.0 < (await p.until("observation"))["t"] < 60


async def test_evidence_before_the_first_frame_sets_no_clock(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.send("evidence", kind="answer_wrong", t=1.8e9)
        await p.frame(grey_jpeg, 1.0)
        welcome, _ = p.of("welcome")[0], await p.until("observation")
        assert service.sessions[welcome["session"]].learner.model.t < 100


async def test_a_session_whose_estimator_fails_expires_all_the_same(
    serve: Serve, grey_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve({"service": {"resume_s": 0.2}}) as service:
        async with peer(service) as p:
            welcome = await p.consented(observations=True)
            await p.frame(grey_jpeg, 0.0)
            await p.until("observation")
            estimator = service.sessions[welcome["session"]].learner.model.estimator
            monkeypatch.setattr(estimator, "advance", lambda *_: 1 / 0)
        async with asyncio.timeout(10):
            while service.sessions:
                await asyncio.sleep(0.1)


async def test_a_replaced_learner_has_no_say_any_more(serve: Serve) -> None:
    async with serve() as service, peer(service) as old, peer(service) as new:
        await old.hello(session="s-9")
        learner = service.sessions["s-9"].learner_socket
        await new.consented(session="s-9")
        assert learner is not None
        handle = learner._handle  # type: ignore[attr-defined]  # what was on its way when it was replaced
        handle(CLIENT_ADAPTER.validate_python({"type": "consent", "granted": False}))
        handle(CLIENT_ADAPTER.validate_python({"type": "bye"}))
        assert service.sessions["s-9"].consent
        assert not service.sessions["s-9"].ended


async def test_less_than_a_frame_a_second_is_a_rate_too(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_fps": 0.01}}) as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 0.0)
        await p.until("observation")
        await p.frame(grey_jpeg, 0.1)
        assert (await p.until("error"))["code"] == "rate_limited"


async def test_time_passes_without_a_camera(serve: Serve) -> None:
    table = {"learner": {"hold_s": 0.1, "blind_s": 0.5, "absent_s": 0.1}}
    async with serve(table) as service, peer(service) as p:
        await p.hello()
        await p.send("evidence", kind="typed_frustration")
        onset = (await p.until("event"))["event"]["data"]
        assert (onset["state"], onset["phase"], onset["evidence"]) == ("frustration", "onset", "host")
        offset = (await p.until("event", lambda m: m["event"]["data"]["phase"] == "offset"))["event"]["data"]
        assert (offset["state"], offset["reason"]) == ("frustration", "no_evidence")
        assert offset["t"] >= onset["t"] + 0.5
        assert service.sessions[p.of("welcome")[0]["session"]].snapshot().presence == "unknown"  # nobody looked


async def test_frames_that_fail_do_not_stop_the_clock(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 100}, "learner": {"absent_s": 2.0}}) as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 0.0)
        await p.until("event", lambda m: m["event"]["data"]["phase"] == "present")
        for k in range(1, 16):
            seq = await p.frame(b"no picture", k / 5)
            assert (await p.until("error"))["ref"] == seq
        (gone,) = [m["event"]["data"] for m in p.of("event") if m["event"]["data"]["phase"] == "absent"]
        assert gone["t"] >= 2.0


async def test_the_first_frame_goes_on_where_evidence_began(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 5}}) as service, peer(service) as p:
        await p.consented(observations=True)
        await p.send("evidence", kind="hint_request")
        await p.frame(grey_jpeg, 5000.0)
        first = await p.until("observation")
        await p.frame(grey_jpeg, 5000.2)
        second = await p.until("observation")
        assert 0 <= first["t"] < 10
        assert second["t"] - first["t"] == pytest.approx(0.2, abs=0.01)


async def test_a_tutors_bye_ends_nothing_but_its_own_socket(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.consented(session="s-11", observations=True)
        await tutor.hello(roles=["tutor"], session="s-11")
        await tutor.send("bye")
        assert await tutor.closed() == 1000
        assert not service.sessions["s-11"].ended
        await learner.frame(grey_jpeg, 0.0)
        await learner.until("observation")


async def test_a_session_nobody_returns_to_ends_and_is_forgotten(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"resume_s": 0.2, "max_skew_s": 100}}) as service:
        async with peer(service) as p:
            welcome = await p.consented(observations=True)
            await surprise(p, grey_jpeg)
            session = service.sessions[welcome["session"]]
        async with asyncio.timeout(10):
            while service.sessions:
                await asyncio.sleep(0.05)
        last = session.ring[-1].data
        assert (last.state, last.phase, last.reason) == ("surprise", "offset", "session_end")
        assert not session.consent


async def test_a_stop_ends_what_is_open_and_goes_away(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 100}}) as service, peer(service) as p, peer(service) as tutor:
        await p.consented(session="s-13", observations=True)
        await tutor.hello(roles=["tutor"], session="s-13")
        await surprise(p, grey_jpeg)
        stop = asyncio.create_task(service.stop())
        for listening in (p, tutor):
            assert await listening.closed() == 1001  # they come again; after 1000 they would not
            last = listening.seen[-1]["event"]["data"]
            assert (last["state"], last["phase"], last["reason"]) == ("surprise", "offset", "session_end")
        await stop
