"""The embedded doors: module, pictures, and the example of the README."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.engine import Engine

import affect
from affect.cli.bench_pipeline import moving_face
from affect.errors import AffectError, ErrorCode, FrameError
from affect.labels import Evidence, LearnerState
from affect.module import AffectModule, SyncAffectModule
from affect.settings import Settings
from affect.types import ByteArray

README = Path(__file__).resolve().parents[2] / "README.md"


async def test_push_and_events(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), session="s", engine=fake_engine) as module:
        for k in range(30):
            module.push(grey_jpeg, k / 5)
            await module.drain()
        before = module.estimate
        module.evidence("off_task", 6.0)
        told = module.estimate
        assert before is not None
        assert told is not None
        assert told.evidence is Evidence.HOST
        assert told.state_map()["boredom"] > 1.5 * before.state_map()["boredom"]
        module.correct(LearnerState.CONFUSION, 6.1)
        assert module.estimate is not None
        assert module.estimate.state_map()["confusion"] >= 0.59
    events = [event async for event in module.events()]
    phases = [(e.data.state, e.data.phase) for e in events]
    assert phases[0] == ("presence", "present")
    assert ("surprise", "onset") in phases
    assert ("confusion", "corrected") in phases
    assert phases[-1][1] == "offset"
    assert [e.data.seq for e in events] == list(range(1, len(events) + 1))


async def test_modules_that_share_an_engine_are_apart(grey_jpeg: bytes) -> None:
    settings = Settings.model_validate({"inference": {"backend": "cnn"}, "vision": {"detector": "haar"}})
    async with AffectModule(settings, session="a") as a:
        async with AffectModule(settings, session="b", engine=a.core.engine, host=a.core.host) as b:
            for module, state in ((a, LearnerState.BOREDOM), (b, LearnerState.FRUSTRATION)):
                module.push(grey_jpeg, 0.0)
                module.correct(state, 0.5)
        a.push(grey_jpeg, 1.0)  # b has closed, the engine has not
        await a.drain()
        assert a.errors == []
        engine = a.core.engine
    with pytest.raises(AffectError, match="engine is closed"):
        engine.submit(a.core.job(grey_jpeg, 2.0))
    for module, name, open_state in ((a, "a", "boredom"), (b, "b", "frustration")):
        events = [event async for event in module.events()]
        assert {event.subject for event in events} == {name}
        assert [event.data.seq for event in events] == list(range(1, len(events) + 1))
        assert (events[-1].data.state, events[-1].data.reason) == (open_state, "session_end")


async def test_the_newest_frame_wins_and_a_bad_one_is_kept_as_error(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        for k in range(5):
            module.push(grey_jpeg, k / 5)
        assert module.dropped == 4
        await module.drain()
        module.push(b"no picture", 2.0)
        await module.drain()
        assert [e.code for e in module.errors] == [ErrorCode.UNSUPPORTED_MEDIA]
        module.push(grey_jpeg, 3.0)
        await module.drain()
        observed = [await asyncio.wait_for(anext(module.observations()), 5) for _ in range(2)]
        assert [o.frame.t for o in observed] == [0.8, 3.0]


def test_both_forms_give_the_same_events(fake_engine: Engine, grey_jpeg: bytes, black_jpeg: bytes) -> None:
    frames = [(grey_jpeg if k < 30 else black_jpeg, k / 5) for k in range(70)]

    async def embedded() -> list[tuple[str, str, float]]:
        async with AffectModule(Settings(), engine=fake_engine) as module:
            for image, t in frames:
                module.push(image, t)
                await module.drain()
        return [(e.data.state, e.data.phase, e.data.t) async for e in module.events()]

    synchronous: list[tuple[str, str, float]] = []
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        for image, t in frames:
            synchronous += [(e.data.state, e.data.phase, e.data.t) for e in module.push(image, t)[1]]
        synchronous += [(e.data.state, e.data.phase, e.data.t) for e in module.end()]
    assert asyncio.run(embedded()) == synchronous
    assert ("presence", "absent") in {(state, phase) for state, phase, _ in synchronous}


def test_push_many_keeps_order(fake_engine: Engine, grey_jpeg: bytes) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        frames = ((grey_jpeg if k != 7 else b"bad", k / 5) for k in range(20))
        results = list(module.push_many(frames, window=6))
    assert isinstance(results[7], AffectError)
    times = [r[0].frame.t for r in results if not isinstance(r, AffectError)]
    assert times == [k / 5 for k in range(20) if k != 7]


def test_push_many_makes_the_same_batches_whatever_the_timing(fake_engine: Engine, grey_jpeg: bytes) -> None:
    def slowly() -> Iterator[tuple[bytes, float]]:
        for k in range(20):
            while k == 7 and fake_engine.waiting:  # the engine runs dry in the middle of a batch
                time.sleep(0.001)
            yield grey_jpeg, k / 5

    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        assert len(list(module.push_many(slowly(), window=12))) == 20
    fake_engine.close()  # which counts a batch after its answers
    assert (fake_engine.stats.batches, fake_engine.stats.largest_batch) == (4, 6)


def test_sessions_of_files_look_for_faces_alike_whatever_their_names(fake_engine: Engine) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        trackers = [module.for_file(name)._core.session.tracker for name in ("a", "Zo\udceb")]
    assert [(tracker.phase, tracker.settings.search_s) for tracker in trackers] == [(0.0, 0.0)] * 2


def test_load_backend_takes_crops_of_any_kind(astronaut: ByteArray) -> None:
    face = astronaut[55:180, 130:235]
    crops = [face, face[:, :, 1], np.ascontiguousarray(face[::2, ::2]), np.zeros((48, 48), np.uint8)]
    table = affect.load_backend("cnn").probabilities(crops)
    assert table.shape == (4, 7)
    assert table.dtype == np.float32
    assert np.allclose(table.sum(axis=1), 1, atol=1e-4)
    assert (table[:3].argmax(axis=1) == 3).all()  # happy, in colour, grey and small
    assert affect.load_backend("cnn").probabilities([]).shape == (0, 7)


@pytest.mark.parametrize("crop", [np.zeros((48, 48), np.float32), np.zeros((48, 48, 2), np.uint8), "x"])
def test_load_backend_refuses_what_is_no_crop(crop: object) -> None:
    with pytest.raises(AffectError, match="crop 0"):
        affect.load_backend("cnn").probabilities([crop])  # type: ignore[list-item]


def test_analyze_image_finds_the_face(astronaut: ByteArray, astronaut_jpeg: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(astronaut_jpeg)
    for picture in (astronaut, astronaut_jpeg, path, str(path)):
        (face,) = affect.analyze_image(picture)
        assert face.box == pytest.approx([138, 59, 227, 173], abs=8)
        assert face.landmarks is not None
        assert face.landmarks[0] == pytest.approx([164, 101], abs=6)
        assert face.pose is not None
        assert abs(face.pose.yaw) < 20
        emotions = face.emotions()
        assert emotions is not None
        assert max(emotions, key=lambda name: emotions[name]) == "happy"


def test_analyze_image_of_nobody() -> None:
    assert affect.analyze_image(np.full((120, 160, 3), 90, np.uint8)) == ()
    with pytest.raises(AffectError):
        affect.analyze_image(b"no picture")


def test_the_example_of_the_readme_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The fenced block after `<!-- example: embedded -->`, as it stands, on frames of a moving face."""
    text = README.read_text(encoding="utf-8")
    match = re.search(r"<!-- example: embedded -->\n```python\n(.*?)```", text, re.DOTALL)
    assert match, "the README lost its embedded example"
    code = match.group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    frames = [(jpeg, k / 10) for k, jpeg in enumerate(moving_face(320, 240, 40))]
    exec(compile(code, "README.md", "exec"), {"frames": frames, "__name__": "__main__"})
    assert "delight onset" in capsys.readouterr().out


async def test_an_estimator_that_raises_is_kept_as_error_and_nothing_hangs(
    fake_engine: Engine, grey_jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        monkeypatch.setattr(module.core.session.model.estimator, "observe", lambda *_: 1 / 0)
        module.push(grey_jpeg, 0.0)
    assert [e.code for e in module.errors] == [ErrorCode.INTERNAL]
    assert [e async for e in module.events()] == []
    assert [e async for e in module.events()] == []  # a second reader ends too


async def test_unread_observations_do_not_hang_the_end(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        for k in range(80):
            module.push(grey_jpeg, k / 5)
            await module.drain()
    kept = [o.frame.t async for o in module.observations()]
    assert kept[-1] == 79 / 5
    assert len(kept) == 63


async def test_times_that_do_not_grow_are_errors(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        for t in (1.0, 0.5, float("nan")):
            module.push(grey_jpeg, t)
    assert [e.code for e in module.errors] == [ErrorCode.FRAME_OUT_OF_ORDER] * 2


def test_one_crop_instead_of_a_list_is_refused(astronaut: ByteArray) -> None:
    with pytest.raises(AffectError, match="list of crops"):
        affect.load_backend("cnn").probabilities(astronaut)  # type: ignore[arg-type]


@pytest.mark.parametrize("t", [float("nan"), float("inf"), 1.8e9])
def test_evidence_on_another_clock_than_the_frames_is_refused(fake_engine: Engine, grey_jpeg: bytes, t: float) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        module.push(grey_jpeg, 1.0)
        with pytest.raises(FrameError):
            module.evidence("answer_wrong", t)
        with pytest.raises(FrameError):
            module.correct(LearnerState.BOREDOM, t)
        with pytest.raises(FrameError):
            module.tick(t)
        assert module.push(grey_jpeg, 2.0)[0].estimate.t == 2.0
        module.evidence("answer_wrong", 300.0)  # the camera may have been silent for long


def test_frames_on_another_clock_than_evidence_are_refused(fake_engine: Engine, grey_jpeg: bytes) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        module.evidence("answer_wrong", 1.8e9)
        with pytest.raises(FrameError, match="one clock"):
            module.push(grey_jpeg, 1.0)
        module.push(grey_jpeg, 1.8e9 + 1)


async def test_a_camera_that_falls_silent_ends_presence(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        module.push(grey_jpeg, 0.0)
        await module.drain()
        for t in range(1, 20):
            module.tick(float(t))
    phases = [event.data.phase async for event in module.events()]
    assert phases == ["present", "absent"]


def test_a_failed_start_leaves_no_engine_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    monkeypatch.setattr("affect.module.build_engine", lambda *_: built.append(1))
    with pytest.raises(AffectError, match="nope"):
        SyncAffectModule(Settings.model_validate({"learner": {"estimator": "nope"}}))
    assert not built


def test_a_camera_that_is_off_for_hours_is_no_error(fake_engine: Engine, grey_jpeg: bytes) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        module.push(grey_jpeg, 0.0)
        for t in range(60, 9000, 60):
            module.tick(float(t))
        module.evidence("answer_wrong", 9000.0)
        assert module.push(grey_jpeg, 9001.0)[0].estimate.t == 9001.0


def test_frames_after_evidence_in_milliseconds_are_refused_not_taken_for_late(
    fake_engine: Engine, grey_jpeg: bytes
) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        module.push(grey_jpeg, 1.0)
        module.evidence("answer_wrong", 1200.0)
        with pytest.raises(FrameError, match="one clock"):
            module.push(grey_jpeg, 1.4)


async def test_errors_keep_no_picture(fake_engine: Engine, grey_jpeg: bytes) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        module.push(grey_jpeg[:200], 0.0)
        module.push(b"no picture", 1.0)
        await module.drain()
        module.push(grey_jpeg[:300], 2.0)
        await module.drain()
        assert module.errors
        for error in module.errors:
            assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_analyze_image_keeps_nothing_that_identifies_people(astronaut: ByteArray) -> None:
    (face,) = affect.analyze_image(astronaut)
    assert face.embedding is None


async def test_revoking_ends_what_is_open_forgets_and_drops_frames_at_work(
    fake_engine: Engine, grey_jpeg: bytes
) -> None:
    async with AffectModule(Settings(), engine=fake_engine) as module:
        for k in range(30):
            module.push(grey_jpeg, k / 5)
            await module.drain()
        assert module.core.session.model.policy.open_states
        module.push(grey_jpeg, 6.0)
        await asyncio.sleep(0)  # it is at work, the next one waits
        module.push(grey_jpeg, 6.1)
        module.revoke(6.2)
        await module.drain()
        assert module.estimate is None
        assert not module.core.session.model.policy.open_states
        module.push(grey_jpeg, 7.0)
        await module.drain()
        assert module.core.session.estimate is not None
    ends = [e.data.reason for e in [event async for event in module.events()] if e.data.phase == "offset"]
    assert "consent_revoked" in ends


def test_revoking_in_the_synchronous_form(fake_engine: Engine, grey_jpeg: bytes) -> None:
    with SyncAffectModule(Settings(), engine=fake_engine) as module:
        for k in range(30):
            module.push(grey_jpeg, k / 5)
        assert {event.data.reason for event in module.revoke(6.0)} == {"consent_revoked"}
        assert module.estimate is None
