"""Bad input: each kind gets its stable code, and the session and everyone else's go on."""

import asyncio
import io
import json
import socket
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.wire import Peer, Serve, peer
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from affect.inference.device import Device
from affect.pipeline import Pipeline, build_engine
from affect.plugins import PluginHost
from affect.registry import BackendSpec, Context
from affect.settings import Settings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray, Detection, FloatArray
from affect.vision.detector import Hint


def png_bomb(width: int, height: int) -> bytes:
    """A valid PNG header for a huge picture, in a few bytes."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def small_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 99, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


async def goes_on(p: Peer, image: bytes, t: float) -> None:
    """The session still works: a good frame gives an observation."""
    seq = await p.frame(image, t)
    await p.until("observation", lambda m: m["seq"] == seq)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda good: b"", "unsupported_media"),
        (lambda good: b"hello, I am no picture at all", "unsupported_media"),
        (lambda good: good[: len(good) // 2], "bad_image"),
        (lambda good: png_bomb(20_000, 20_000), "image_too_large"),
        (lambda good: small_png(), "image_too_small"),
    ],
    ids=["empty", "text", "truncated", "bomb", "8x8"],
)
async def test_bad_picture(serve: Serve, grey_jpeg: bytes, make: Any, code: str) -> None:
    async with serve() as service, peer(service) as p, peer(service) as other:
        await p.consented(observations=True)
        await other.consented(observations=True)
        seq = await p.frame(make(grey_jpeg), 0.0)
        error = await p.until("error")
        assert (error["code"], error["ref"], error["fatal"]) == (code, seq, False)
        await goes_on(p, grey_jpeg, 0.2)
        await goes_on(other, grey_jpeg, 0.0)


async def test_nobody_in_the_picture(serve: Serve, black_jpeg: bytes, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(black_jpeg, 0.0)
        observation = await p.until("observation")
        assert (observation["faces"], observation["followed"]) == ([], None)
        assert observation["evidence"] == "none"
        await goes_on(p, grey_jpeg, 0.2)


@pytest.mark.parametrize(
    ("seq", "t", "code"),
    [(5, 2.0, "frame_out_of_order"), (9, 0.5, "frame_out_of_order"), (6, 5000.0, "frame_from_future")],
    ids=["seq again", "time back", "future"],
)
async def test_frames_out_of_order(serve: Serve, grey_jpeg: bytes, seq: int, t: float, code: str) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 1.0, seq=5)
        await p.until("observation")
        await p.frame(grey_jpeg, t, seq=seq)
        assert (await p.until("error"))["code"] == code
        await p.frame(grey_jpeg, 1.2, seq=7)
        await p.until("observation", lambda m: m["seq"] == 7)


async def test_too_many_frames_a_second(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"max_fps": 5}}) as service, peer(service) as p:
        await p.consented(observations=True)
        for k in range(20):
            await p.frame(grey_jpeg, k / 100)
        assert (await p.until("error"))["code"] == "rate_limited"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "nonsense"}', "unknown_type"),
        ('{"no": "type"}', "unknown_type"),
        ("[]", "bad_message"),
        ("not json", "bad_message"),
        ('{"type": "consent"}', "bad_message"),
        ('{"type": "consent", "granted": true, "extra": 1}', "bad_message"),
        ('{"type": "evidence", "kind": "hint_request", "t": NaN}', "bad_message"),
        ('{"type": "correct", "state": "sleepy"}', "bad_message"),
        ('{"type": "hello", "protocol": "affect.v1", "client": "x", "roles": ["tutor"]}', "bad_message"),
    ],
)
async def test_bad_message(serve: Serve, grey_jpeg: bytes, message: str, code: str) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.socket.send(message)
        error = await p.until("error")
        assert error["code"] == code
        assert error["message"]
        await goes_on(p, grey_jpeg, 0.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x02\x01\x00\x02{}",
        b"\x01\x09\x00\x02{}",
        b"\x01\x01\xff\xff{}",
        b"\x01\x01\x00\x02{}",
    ],
)
async def test_bad_binary_frame(serve: Serve, grey_jpeg: bytes, data: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.socket.send(data)
        assert (await p.until("error"))["code"] == "bad_message"
        await goes_on(p, grey_jpeg, 0.0)


async def test_message_over_the_size_limit_closes_with_1009(serve: Serve) -> None:
    async with serve({"service": {"max_message_bytes": 2048}}) as service, peer(service) as p:
        await p.consented()
        await p.socket.send(b"\x01" * 5000)
        assert await p.closed() == 1009


class PoisonableBackend(FakeBackend):
    """Raises for a batch with a dark face, gives NaN for a mid-grey one."""

    def __init__(self) -> None:
        super().__init__(poison=0.3)

    def predict(self, faces: torch.Tensor) -> torch.Tensor:
        logits = super().predict(faces)
        grey = faces.mean(dim=(1, 2, 3))
        logits[(grey > 0.45) & (grey < 0.55)] = float("nan")
        return logits


def striped(level: int) -> bytes:
    """A readable frame of a mean grey level."""
    image = np.full((96, 128, 3), level + 40, np.uint8)
    image[:, ::8] = image[:, 1::8] = image[:, 2::8] = image[:, 3::8] = level - 40
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("level", "code"), [(55, "backend_failed"), (128, "backend_bad_output")])
async def test_a_failing_face_costs_only_itself(serve: Serve, level: int, code: str) -> None:
    settings = Settings()
    backend = PoisonableBackend()
    engine = build_engine(Pipeline(FakeDetector(), backend, Device("cpu", "float32"), settings.vision), settings)
    try:
        async with serve(engine=engine) as service, peer(service) as bad, peer(service) as good:
            await bad.consented(observations=True)
            await good.consented(observations=True)
            for k in range(5):
                seq = await bad.frame(striped(level), k / 5, media="image/png")
                await good.frame(striped(200), k / 5, media="image/png")
                error = await bad.until("error")
                assert (error["code"], error["ref"]) == (code, seq)
                observation = await bad.until("observation")
                assert observation["faces"][0]["emotions"] is None
                assert observation["evidence"] == "none"
                fine = await good.until("observation")
                assert fine["faces"][0]["emotions"] is not None
            assert good.of("error") == []
    finally:
        engine.close()


async def test_status_tells_of_a_backend_that_fails_until_it_works_again(serve: Serve) -> None:
    settings = Settings()
    pipeline = Pipeline(FakeDetector(), PoisonableBackend(), Device("cpu", "float32"), settings.vision)
    engine = build_engine(pipeline, settings)
    try:
        async with serve({"service": {"status_s": 0.1}}, engine) as service, peer(service) as p:
            await p.consented(observations=True)
            assert (await p.until("status"))["backend_ok"] is True
            for k, level, ok in ((0, 55, False), (1, 200, True)):
                await goes_on(p, striped(level), k / 5)
                assert (await p.until("status"))["backend_ok"] is ok
    finally:
        engine.close()


class CrowdDetector(FakeDetector):
    """Sees twenty faces in a row."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        row = []
        for k in range(20):
            box = np.array([k * 30, 10, k * 30 + 24 + k / 10, 34 + k / 10], np.float32)
            row.append(Detection(box, None, 0.9))
        return [row for _ in images]

    def refine(self, images: Sequence[ByteArray], boxes: Sequence[FloatArray]) -> list[Detection | None]:
        return [Detection(box, None, 0.9) for box in boxes]


async def test_twenty_faces(serve: Serve) -> None:
    settings = Settings.model_validate({"vision": {"all_faces": True}})
    engine = build_engine(Pipeline(CrowdDetector(), FakeBackend(), Device("cpu", "float32"), settings.vision), settings)
    picture = io.BytesIO()
    Image.fromarray(np.full((64, 640, 3), 128, np.uint8)).save(picture, "PNG")
    try:
        async with serve(engine=engine) as service, peer(service) as p:
            await p.consented(observations=True)
            for k in range(3):
                await p.frame(picture.getvalue(), k / 5, media="image/png")
                observation = await p.until("observation")
                assert len(observation["faces"]) == 20
                assert all(face["emotions"] for face in observation["faces"])
                assert observation["followed"] == 20  # the largest, and it stays
    finally:
        engine.close()


class BrokenDetector(FakeDetector):
    """Raises whenever it is asked."""

    def detect(self, images: Sequence[ByteArray], hints: Sequence[Hint] | None = None) -> list[list[Detection]]:
        raise ValueError("no eyes")


async def test_a_detector_that_raises(serve: Serve, grey_jpeg: bytes) -> None:
    settings = Settings()
    engine = build_engine(
        Pipeline(BrokenDetector(), FakeBackend(), Device("cpu", "float32"), settings.vision), settings
    )
    try:
        async with serve({"service": {"status_s": 1}}, engine=engine) as service, peer(service) as p:
            await p.consented(observations=True)
            await p.frame(grey_jpeg, 0.0)
            error = await p.until("error")
            assert error["code"] == "detector_failed"
            assert "no eyes" in error["message"]
            await p.until("status", lambda m: m["backend_ok"] is False)
            await p.send("ping", id=3)
            await p.until("pong")
    finally:
        engine.close()


def test_a_plugin_that_raises_at_create_is_an_error_that_names_it() -> None:
    class Plugin:
        pass

    from affect import hookimpl

    def create(ctx: Context) -> Any:
        raise RuntimeError("weights on fire")

    class Raising:
        @hookimpl
        def register_backends(self, register: Any) -> None:
            register(BackendSpec("raising", create, "raises"))

    host = PluginHost(entry_points=[])
    host.register(Raising(), "raising-plugin", "raising-dist", "1")
    with pytest.raises(Exception, match=r"'raising' of raising-plugin .* weights on fire") as caught:
        host.create_backend("raising", Device("cpu"))
    assert getattr(caught.value, "code", None) == "backend_unavailable"


async def test_a_client_that_never_reads_is_cut_off_and_may_resume(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve({"service": {"outbox": 16, "max_messages": 1e6}}) as service:
        async with peer(service) as feeder:
            await feeder.consented(session="s-slow", observations=True)
            # A tutor with a tiny receive buffer that says hello and then reads nothing.
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", service.port))
            deaf = await connect(
                f"ws://127.0.0.1:{service.port}/ws",
                sock=raw,
                subprotocols=[Subprotocol("affect.v1")],
                compression=None,
                max_queue=1,
                close_timeout=0.1,
            )
            hello = {"type": "hello", "protocol": "affect.v1", "client": "deaf", "roles": ["tutor"]}
            await deaf.send(json.dumps({**hello, "session": "s-slow"}))
            session = service.sessions["s-slow"]
            async with asyncio.timeout(10):
                while len(session.listeners) < 2:
                    await asyncio.sleep(0.01)
            deaf.transport.pause_reading()
            # Corrections are events that never coalesce: they pile up for the one who does not read.
            for _ in range(20_000):
                await feeder.send("correct", state="boredom")
                await feeder.until("event", lambda m: m["event"]["data"]["phase"] == "corrected")
                if len(session.listeners) == 1:
                    break
            assert len(session.listeners) == 1, "the deaf tutor was never cut off"
            deaf.transport.abort()
            await goes_on(feeder, grey_jpeg, 0.0)
            last = session.learner.numbering.seq
        async with peer(service) as tutor:
            welcome = await tutor.hello(roles=["tutor"], session="s-slow", resume={"after": last - 3})
            assert welcome["resumed"] is True
            replayed = [await tutor.until("event") for _ in range(3)]
            assert [m["event"]["data"]["seq"] for m in replayed] == [last - 2, last - 1, last]


async def test_evidence_from_the_future_does_not_push_the_clock(serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service, peer(service) as p:
        await p.consented(observations=True)
        await p.frame(grey_jpeg, 1.0)
        await p.until("observation")
        for kind, fields in (("evidence", {"kind": "hint_request"}), ("correct", {"state": "boredom"})):
            await p.send(kind, t=1e9, **fields)
            assert (await p.until("error"))["code"] == "frame_from_future"
        assert service.sessions[p.of("welcome")[0]["session"]].learner.model.t < 100
        await goes_on(p, grey_jpeg, 1.2)


async def test_an_estimator_that_raises_costs_one_frame(
    serve: Serve, grey_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as service, peer(service) as p:
        welcome = await p.consented(observations=True)
        learner = service.sessions[welcome["session"]].learner
        with monkeypatch.context() as patch:
            patch.setattr(learner.model.estimator, "observe", lambda *_: 1 / 0)
            seq = await p.frame(grey_jpeg, 0.0)
            error = await p.until("error")
            assert (error["code"], error["ref"]) == ("internal", seq)
        await goes_on(p, grey_jpeg, 0.2)


class NanDetector(FakeDetector):
    """Gives a face at no place for bright pictures."""

    def _find(self, image: ByteArray) -> list[Detection]:
        found = super()._find(image)
        if found and int(image.max()) > 200:
            return [Detection(found[0].box * np.float32("nan"), found[0].landmarks, 1.0)]
        return found


async def test_a_detector_that_gives_nan_costs_only_its_own_frame(serve: Serve) -> None:
    settings = Settings()
    pipeline = Pipeline(NanDetector(), FakeBackend(), Device("cpu", "float32"), settings.vision)
    engine = build_engine(pipeline, settings)
    try:
        async with serve(engine=engine) as service, peer(service) as bad, peer(service) as good:
            await bad.consented(observations=True)
            await good.consented(observations=True)
            for k in range(3):
                await bad.frame(striped(200), k / 5, media="image/png")
                await goes_on(good, striped(100), k / 5 + 0.01)
                assert (await bad.until("error"))["code"] == "detector_failed"
            assert good.of("error") == []
    finally:
        engine.close()
