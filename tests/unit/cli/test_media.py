"""Times of a video's frames, whatever its container says."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.cli.media import Video


class Capture:
    """A container with these times, in seconds."""

    def __init__(self, times: Sequence[float], fps: float) -> None:
        self.times, self.fps, self.at = list(times), fps, -1

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_FPS:
            return self.fps
        return self.times[self.at] * 1000 if what == cv2.CAP_PROP_POS_MSEC else float(len(self.times))

    def grab(self) -> bool:
        self.at += 1
        return self.at < len(self.times)

    def read(self) -> tuple[bool, np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None]:
        return (True, np.zeros((2, 2, 3), np.uint8)) if self.grab() else (False, None)

    def release(self) -> None:
        pass


BRIDGED: list[tuple[int, float]] = []
"""Jumps of the video that was read last."""


def times(monkeypatch: pytest.MonkeyPatch, given: Sequence[float], fps: float = 10.0, every: int = 1) -> list[float]:
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Capture(given, fps))
    with Video(Path("any.webm"), every) as video:
        found = [round(frame.t, 3) for frame in video]
        BRIDGED[:] = [(index, round(seconds, 3)) for index, seconds in video.bridged]
        return found


def test_the_containers_times_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times(monkeypatch, [0, 0.1, 0.25, 3.0, 9.0]) == [0, 0.1, 0.25, 3.0, 9.0]
    assert BRIDGED == []


def test_a_container_without_times_has_a_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times(monkeypatch, [0, 0, 0, 0]) == [0, 0.1, 0.2, 0.3]
    assert times(monkeypatch, [float("nan")] * 3, fps=4) == [0, 0.25, 0.5]


def test_after_a_jump_the_containers_times_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times(monkeypatch, [0, 1, 41, 43, 43.5]) == [0, 1, 1.1, 3.1, 3.6]
    assert BRIDGED == [(2, 39.9)]  # and says so: it may have been a pause
    assert times(monkeypatch, [5, 6, 0.5, 1.5]) == [5, 6, 6.1, 7.1]  # a clock that began anew


def test_one_broken_time_costs_one_frame_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    assert times(monkeypatch, [0, 1, 1e6, 2, 3])[-1] == pytest.approx(2.2)


def test_taking_few_frames_is_no_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [k / 8 for k in range(400)]
    assert times(monkeypatch, given, fps=1000, every=100) == [0, 12.5, 25.0, 37.5]
