"""Messages, consent, frames, events: what is on the wire, over a real socket, faces faked."""

import asyncio
import json

import pytest
from jsonschema import Draft202012Validator
from support.wire import Serve, peer, surprise

from affect.labels import EMOTIONS, STATES, LearnerState
from affect.service.protocol import SERVER_ADAPTER
from affect.service.schema import json_schema
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


async def test_prohibited_use_is_refused(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.hello()
        await p.send("consent", granted=True, context="education_institution", jurisdiction="DE")
        assert await p.closed() == 4451
        assert p.of("error")[0]["code"] == "policy_refused"


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


async def test_a_frames_errors_go_to_all_and_early_ones_to_the_sender(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_fps": 4}}) as service, peer(service) as learner, peer(service) as tutor:
        await learner.hello(session="s-14", roles=["learner"])
        await tutor.hello(roles=["tutor"], session="s-14")
        await learner.frame(grey_jpeg, 0.0)
        await learner.until("error", lambda m: m["code"] == "consent_required")
        await learner.send("consent", granted=True)
        seq = await learner.frame(b"no picture", 0.1)
        for told in (learner, tutor):
            error = await told.until("error", lambda m: m["ref"] == seq)
            assert (error["code"], error["fatal"]) == ("unsupported_media", False)
        await learner.frame(grey_jpeg, 0.1)
        await learner.until("error", lambda m: m["code"] == "frame_out_of_order")
        await learner.frame(grey_jpeg, 1000.0)
        await learner.until("error", lambda m: m["code"] == "frame_from_future")
        await learner.socket.send(b"\x01")
        await learner.until("error", lambda m: m["code"] == "bad_message")
        for k in range(8):
            await learner.frame(grey_jpeg, 0.2 + k / 100)
        await learner.until("error", lambda m: m["code"] == "rate_limited")
        await tutor.send("ping")
        await tutor.until("pong")
        assert [m["ref"] for m in tutor.of("error")] == [seq]


async def test_everybody_learns_that_a_refusal_ended_a_grant(serve: Serve) -> None:
    async with serve() as service, peer(service) as learner, peer(service) as tutor:
        await learner.consented(session="s-10")
        await tutor.hello(roles=["tutor"], session="s-10")
        await tutor.until("snapshot", lambda m: m["consent"])
        await learner.send("consent", granted=True, context="workplace", jurisdiction="DE")
        await tutor.until("snapshot", lambda m: not m["consent"])


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
