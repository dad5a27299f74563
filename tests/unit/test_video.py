"""Frames and times of a video, whatever its container says."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import MediaError, SettingsError
from affect.video import Sampling, Video, VideoFacts

BAD = -1.0
"""The time of a frame that cannot be decoded."""


class Capture:
    """A container with frames at these times, in seconds, that announces a duration in frames of its rate."""

    def __init__(self, times: Sequence[float], fps: float, announced_s: float | None, start_s: float) -> None:
        self.times, self.fps, self.at = list(times), fps, -1
        self.count = len(self.times) if announced_s is None else announced_s * fps
        self.start_s = start_s

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.times[self.at] * 1000
        if what == cv2.CAP_PROP_PTS:
            return (self.times[self.at] + self.start_s) * self.fps
        return {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_COUNT: float(self.count)}[what]

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.times) and self.times[self.at] != BAD

    def retrieve(self) -> tuple[bool, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
        return True, np.zeros((2, 4, 3), np.uint8)

    def release(self) -> None:
        pass


class Read:
    """A video that was read to its end."""

    def __init__(self, video: Video) -> None:
        frames = list(video)
        self.times = [round(frame.t, 3) for frame in frames]
        self.indices = [frame.index for frame in frames]
        self.facts: VideoFacts = video.facts
        self.bridged = [(hole.index, round(hole.seconds, 3)) for hole in self.facts.bridged]
        self.pauses = [(hole.index, round(hole.seconds, 3)) for hole in self.facts.pauses]


def read(
    monkeypatch: pytest.MonkeyPatch,
    given: Sequence[float],
    fps: float = 10.0,
    *,
    every: int = 1,
    sample_fps: float | None = None,
    announced_s: float | None = None,
    start_s: float = 0.0,
) -> Read:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Capture(given, fps, announced_s, start_s))
    with Video(Path("any.webm"), Sampling(every, sample_fps)) as video:
        return Read(video)


def test_the_containers_times_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    video = read(monkeypatch, [0, 0.1, 0.25, 3.0, 9.0])
    assert video.times == [0, 0.1, 0.25, 3.0, 9.0]
    assert video.bridged == []
    assert (video.facts.width, video.facts.height, video.facts.frames, video.facts.taken) == (4, 2, 5, 5)


def test_a_container_without_times_has_a_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, [0, 0, 0, 0]).times == [0, 0.1, 0.2, 0.3]
    assert read(monkeypatch, [float("nan")] * 3, fps=4).times == [0, 0.25, 0.5]


def test_after_a_jump_the_containers_times_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    jumped = read(monkeypatch, [0, 1, 41, 43, 43.5])
    assert jumped.times == [0, 1, 1.1, 3.1, 3.6]
    assert jumped.bridged == [(2, 39.9)]
    assert any("jumps by +39.9 s at frame 2" in note for note in jumped.facts.notes())
    assert read(monkeypatch, [5, 6, 0.5, 1.5]).times == [5, 6, 6.1, 7.1]  # a clock that began anew


def test_a_jump_of_a_container_without_a_duration_is_bridged(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, [0, 0.1, 30.0, 30.1], announced_s=float("nan")).times == [0, 0.1, 0.2, 0.3]


def test_a_pause_within_the_announced_duration_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    paused = read(monkeypatch, [0, 0.1, 30.1, 30.2], announced_s=30.3)
    assert paused.times == [0, 0.1, 30.1, 30.2]
    assert paused.bridged == []
    assert paused.pauses == [(2, 30.0)]
    assert paused.facts.notes() == ["a pause of 30.0 s before frame 2"]


def test_one_broken_time_costs_one_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, [0, 1, 1e6, 2, 3]).times[-1] == pytest.approx(2.2)


def test_taking_few_frames_is_no_jump_and_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [k / 8 for k in range(400)]
    assert read(monkeypatch, given, fps=1000, every=100).times == [0, 12.5, 25.0, 37.5]
    steady = read(monkeypatch, [k / 10 for k in range(100)], every=30)
    assert steady.times == [0, 3, 6, 9]
    assert steady.pauses == []


def test_frames_that_cannot_be_decoded_cost_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = read(monkeypatch, [0, 0.1, BAD, BAD, 0.4, 0.5, BAD, 0.7])
    assert damaged.times == [0, 0.1, 0.4, 0.5, 0.7]
    assert damaged.indices == [0, 1, 4, 5, 7]
    assert (damaged.facts.frames, damaged.facts.undecodable, damaged.facts.cut_short) == (5, 3, False)
    assert damaged.facts.notes() == ["3 frames could not be decoded"]


def test_taken_frames_keep_their_places_after_one_that_cannot_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = read(monkeypatch, [0, 0.1, BAD, *(k / 10 for k in range(3, 9))], every=3)
    assert damaged.times == [0, 0.3, 0.6]


def test_a_video_of_which_nothing_more_can_be_decoded_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = read(monkeypatch, [0, 0.1, *[BAD] * 5000, 500.2])
    assert lost.times == [0, 0.1]
    assert (lost.facts.undecodable, lost.facts.cut_short) == (0, True)


def test_a_video_is_cut_short_by_its_times_not_by_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    # Matroska announces its duration times the frame rate: 100 frames, where a varying rate has 20.
    assert not read(monkeypatch, [k / 2 for k in range(20)], announced_s=10.0).facts.cut_short
    cut = read(monkeypatch, [k / 10 for k in range(94)], announced_s=10.5)
    assert cut.facts.notes() == ["cut short: ends at 9.4 of the 10.5 s that it announces"]
    assert not read(monkeypatch, [k / 10 for k in range(94)], announced_s=10.0).facts.cut_short


def test_a_video_that_starts_late_is_not_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    late = read(monkeypatch, [k / 10 for k in range(20)], announced_s=22.0, start_s=20.0)
    assert not late.facts.cut_short


def test_a_camera_that_fails_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Capture([0, 0.1, BAD, 0.3], 10.0, float("nan"), 0.0))
    with Video(0) as video:
        assert [frame.index for frame in video] == [0, 1]


def test_frames_are_taken_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = read(monkeypatch, [k / 30 for k in range(31)], fps=30, sample_fps=5)
    assert steady.indices == [0, 6, 12, 18, 24, 30]
    rounded = read(monkeypatch, [round(k / 30, 3) for k in range(31)], fps=30, sample_fps=30)
    assert rounded.indices == list(range(31))
    varying = read(monkeypatch, [0, 0.3, 0.35, 0.4, 0.9, 1.0, 1.1], announced_s=1.2, sample_fps=5)
    assert varying.times == [0, 0.3, 0.4, 0.9, 1.0]


def test_a_sampling_is_one_of_both_and_in_range() -> None:
    for every, fps in ((0, None), (1, 0.0), (1, float("nan")), (2, 5.0)):
        with pytest.raises(SettingsError):
            Sampling(every, fps)


def mjpeg(path: Path, frames: int = 5) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for k in range(frames):
        writer.write(np.full((48, 64, 3), 40 * k, np.uint8))
    writer.release()
    return path


def test_a_name_that_is_no_utf_8_is_opened(tmp_path: Path) -> None:
    strange = tmp_path / "Zo\udceb.avi"
    mjpeg(tmp_path / "a.avi").rename(strange)
    with Video(strange) as video:
        assert len(list(video)) == 5


def test_what_is_no_video_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(MediaError) as caught:
        Video(tmp_path / "empty.mp4")
    assert str(caught.value).count("empty.mp4") == 1
    assert "without a video stream" in str(caught.value)
