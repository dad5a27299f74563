"""Handshake, consent, frames, events, resume, close codes: over a real socket, faces faked."""

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support.wire import Serve, peer
from websockets.exceptions import InvalidStatus

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.service.protocol import CLIENT_ADAPTER, SERVER_ADAPTER
from affect.service.schema import json_schema
from affect.service.server import AffectService
from affect.version import __version__


async def test_welcome_says_what_the_service_is(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        welcome = await p.hello()
        assert welcome["labels"] == [e.value for e in EMOTIONS]
        assert welcome["states"] == [s.value for s in STATES]
        assert welcome["backend"] == "compact"
        assert welcome["resumed"] is False
        assert "hint_request" in welcome["evidence"]
        snapshot = await p.until("snapshot")
        assert snapshot["presence"] == "unknown"
        assert snapshot["consent"] is False


async def test_every_message_is_in_the_schema(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"status_s": 0.1}}) as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 0.0)
        await p.until("observation")
        await p.send("ping", id=7)
        await p.until("pong", lambda m: m["id"] == 7)
        await p.send("nonsense")
        await p.until("error")
        await p.until("status")
        schema = json_schema()
        server = Draft202012Validator({"$ref": "#/$defs/ServerMessage", "$defs": schema["$defs"]})
        for message in p.seen:
            SERVER_ADAPTER.validate_json(json.dumps(message))
            server.validate(message)
        assert {m["type"] for m in p.seen} >= {
            "welcome",
            "snapshot",
            "observation",
            "event",
            "pong",
            "error",
            "status",
        }


async def test_messages_carry_what_they_say(serve: Serve, grey_jpeg: bytes) -> None:
    settings = {
        "service": {
            "status_s": 0.1, "max_skew_s": 100, "heartbeat_s": 17.0, "max_fps": 50.0, "max_message_bytes": 100_000,
            "context": "research", "jurisdiction": "CH",
        },
        "vision": {"max_pixels": 99_999, "min_side": 13, "detector": "mtcnn"},
    }  # fmt: skip
    async with serve(settings) as service, peer(service) as p:
        welcome = await p.consented(observations=True)
        session = service.sessions[welcome["session"]]
        assert welcome["limits"] == {"max_message_bytes": 100_000, "max_pixels": 99_999, "min_side": 13, "max_fps": 50}
        assert (welcome["heartbeat_s"], welcome["context"], welcome["jurisdiction"]) == (17, "research", "CH")
        assert welcome["run"] == session.learner.numbering.run
        assert (welcome["server"], welcome["detector"]) == ({"name": "tutor-affect", "version": __version__}, "mtcnn")
        await surprise(p, grey_jpeg)
        await p.frame(b"no picture", 6.0)
        await p.until("error")
        status = await p.until("status", lambda m: m["failed"] == 1)
        assert (status["received"], status["dropped"], status["consent"]) == (31, 0, True)
        assert 0 < status["latency_ms"]["p50"] <= status["latency_ms"]["p95"]
        assert status["evidence_age_s"] >= 0
        assert sum(m["fps"] for m in p.of("status")) > 0
        (face,) = p.of("observation")[-1]["faces"]
        assert face["score"] == pytest.approx(1.0)
        assert 0 < face["quality"] <= 1
        assert face["pose"] is None or set(face["pose"]) == {"yaw", "pitch", "roll"}
        async with peer(service) as tutor:
            await tutor.hello(roles=["tutor"], session=welcome["session"])
            snapshot = await tutor.until("snapshot")
        assert snapshot["session"] == welcome["session"]
        assert snapshot["seq"] == session.learner.numbering.seq
        assert [state["state"] for state in snapshot["open"]] == ["surprise"]
        assert snapshot["open"][0]["t_start"] == session.learner.model.policy.open_states[LearnerState.SURPRISE]
        assert snapshot["states"]["surprise"] == max(snapshot["states"].values())
        estimate = session.learner.estimate
        assert estimate is not None
        assert (snapshot["valence"], snapshot["evidence"]) == (estimate.valence, "none")  # of the frame that failed


async def test_no_frame_before_consent_and_none_after_revoking(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello(observations=True)
        seq = await p.frame(grey_jpeg, 0.0)
        error = await p.until("error")
        assert (error["code"], error["ref"], error["fatal"]) == ("consent_required", seq, False)
        await p.send("consent", granted=True)
        await p.frame(grey_jpeg, 0.1)
        await p.until("observation")
        await p.send("consent", granted=False)
        await p.until("snapshot", lambda m: not m["consent"])
        await p.frame(grey_jpeg, 0.2)
        assert (await p.until("error"))["code"] == "consent_required"


async def test_observation_has_face_emotions_and_states(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 1.5)
        observation = await p.until("observation")
        assert (observation["width"], observation["height"], observation["t"]) == (128, 96, 1.5)
        (face,) = observation["faces"]
        assert face["track_id"] == observation["followed"] == 1
        assert face["box"] == [32, 24, 96, 72]
        # The fake backend: grey level 200 / 255 of seven classes is class 5, surprise.
        assert max(face["emotions"], key=face["emotions"].get) == "surprise"
        assert sum(observation["states"].values()) == pytest.approx(1, abs=0.01)


async def test_observations_are_opt_in(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"status_s": 0.3}}) as service, peer(service) as p:
        await p.consented()
        await p.frame(grey_jpeg, 0.0)
        await p.until("event")
        await p.until("status", lambda m: m["received"] == 1)
        assert p.of("observation") == []


async def surprise(p: Any, image: bytes, start: float = 0.0, seconds: float = 6.0) -> None:
    """Send five frames a second on the frames' own clock, each after the answer to the last."""
    for k in range(int(seconds * 5)):
        seq = await p.frame(image, start + k / 5)
        await p.until("observation", lambda m, seq=seq: m["seq"] == seq)


async def test_a_held_expression_becomes_an_onset_and_bye_ends_it(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 100}}) as service, peer(service) as p:
        welcome = await p.consented(observations=True)
        await surprise(p, grey_jpeg)
        events = [m["event"] for m in p.of("event")]
        onset = next(e for e in events if e["data"]["state"] == "surprise")
        assert onset["type"] == "org.tutor-affect.learner.surprise.onset.v1"
        assert onset["subject"] == welcome["session"]
        assert onset["specversion"] == "1.0"
        assert 0 < onset["data"]["confidence"] <= 1
        await p.send("bye")
        assert await p.closed() == 1000
        offset = p.of("event")[-1]["event"]["data"]
        assert (offset["state"], offset["phase"], offset["reason"]) == ("surprise", "offset", "session_end")
        numbers = [m["event"]["data"]["seq"] for m in p.of("event")]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_revoking_consent_ends_open_states(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_skew_s": 100}}) as service, peer(service) as p:
        await p.consented(observations=True)
        await surprise(p, grey_jpeg)
        await p.send("consent", granted=False)
        await p.until("snapshot", lambda m: not m["consent"])
        assert p.of("event")[-1]["event"]["data"]["reason"] == "consent_revoked"


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


async def test_evidence_and_corrections(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("evidence", kind="typed_frustration", t=1.0)
        await p.send("correct", state="boredom", t=2.0)
        event = await p.until("event", lambda m: m["event"]["data"]["phase"] == "corrected")
        assert event["event"]["data"]["state"] == "boredom"
        assert event["event"]["data"]["states"]["boredom"] > 0.4
        await p.send("evidence", kind="hint_requests")
        error = await p.until("error")
        assert error["code"] == "unknown_name"
        assert "hint_request" in error["message"]


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


async def test_listen_only_subprotocol_gives_plain_cloudevents(serve: Serve, grey_jpeg: bytes) -> None:
    async with (
        serve() as service,
        peer(service) as p,
        peer(service, subprotocols=["cloudevents.json"]) as listener,
    ):
        await p.consented(session="s-5")
        await listener.send("hello", protocol="affect.v1", client="any", roles=["tutor"], session="s-5")
        async with asyncio.timeout(10):
            while len(service.sessions["s-5"].listeners) < 2:
                await asyncio.sleep(0.01)
        await p.frame(grey_jpeg, 0.0)
        event = json.loads(await asyncio.wait_for(listener.socket.recv(), 5))
        assert event["specversion"] == "1.0"
        assert event["type"] == "org.tutor-affect.learner.presence.present.v1"


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


async def test_prohibited_use_is_refused(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted=True, context="education_institution", jurisdiction="DE")
        assert await p.closed() == 4451
        assert p.of("error")[0]["code"] == "policy_refused"


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


async def test_a_refused_use_ends_an_earlier_grant(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        welcome = await p.consented()
        await p.send("consent", granted=True, context="workplace", jurisdiction="fr")
        assert await p.closed() == 4451
        assert service.sessions[welcome["session"]].consent is False


@pytest.mark.parametrize("jurisdiction", ["Germany", "DEU", "E"])
async def test_a_jurisdiction_is_a_code(serve: Serve, jurisdiction: str) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted=True, context="workplace", jurisdiction=jurisdiction)
        error = await p.until("error")
        assert error["code"] == "bad_message"


async def test_a_doubtful_context_needs_a_jurisdiction(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted=True, context="workplace")
        assert await p.closed() == 4451
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted=True, context="workplace", jurisdiction="US")
        await p.until("snapshot", lambda m: m["consent"])


async def test_errors_name_the_message_they_answer(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("evidence", kind="nothing")
        assert (await p.until("error"))["ref"] == "evidence"


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


async def test_errors_in_a_field_name_the_type_of_the_message(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted="perhaps")
        error = await p.until("error")
        assert (error["code"], error["ref"]) == ("bad_message", "consent")


async def test_a_long_text_is_refused_unread(serve: Serve) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("evidence", kind="x" * 70_000)
        error = await p.until("error")
        assert error["code"] == "bad_message"
        assert "65536 characters" in error["message"]


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


async def test_everybody_learns_that_a_refusal_ended_a_grant(serve: Serve) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.consented(session="s-10")
        await tutor.hello(roles=["tutor"], session="s-10")
        await tutor.until("snapshot", lambda m: m["consent"])
        await learner.send("consent", granted=True, context="workplace", jurisdiction="DE")
        await tutor.until("snapshot", lambda m: not m["consent"])


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


@pytest.mark.parametrize("host", ["[::1", "[", "127.0.0.1]"])
async def test_a_host_that_is_none_is_turned_away(serve: Serve, host: str) -> None:
    async with serve() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        async with asyncio.timeout(10):
            assert b" 404 " in await reader.readline()
        writer.close()


async def test_a_tutors_bye_ends_nothing_but_its_own_socket(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.consented(session="s-11", observations=True)
        await tutor.hello(roles=["tutor"], session="s-11")
        await tutor.send("bye")
        assert await tutor.closed() == 1000
        assert not service.sessions["s-11"].ended
        await learner.frame(grey_jpeg, 0.0)
        await learner.until("observation")


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


async def test_who_only_listens_hears_events_alone(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"status_s": 0.1, "max_skew_s": 100}}) as service:
        async with peer(service) as p, peer(service, subprotocols=["cloudevents.json"]) as listener:
            await p.consented(session="s-12", observations=True)
            await listener.send("hello", protocol="affect.v1", client="x", roles=["tutor"], session="s-12")
            await p.frame(b"no picture", 0.0)
            await p.until("error")
            await surprise(p, grey_jpeg, start=1.0)
            await p.until("status")
            await p.send("bye")
            async with asyncio.timeout(10):
                heard = [json.loads(data) async for data in listener.socket]
        assert len(heard) >= 2
        assert all(message["specversion"] == "1.0" for message in heard)


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
