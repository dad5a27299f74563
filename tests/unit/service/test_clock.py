"""The clock of a session: what a bad, late or new clock of a client does to it, and what it does not."""

import contextlib
import math
import time

import numpy as np
import pytest

from affect.errors import ErrorCode, FrameError
from affect.service.clock import SessionClock
from affect.service.protocol import FrameHeader


class Wall:
    """Our own clock, moved by the test."""

    def __init__(self) -> None:
        self.t = 5000.0

    def __call__(self) -> float:
        return self.t


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    moved = Wall()
    monkeypatch.setattr(time, "monotonic", moved)
    return moved


class Client:
    """Sends frames five times a second of our time, stamped by a clock of its own."""

    def __init__(self, clock: SessionClock, wall: Wall) -> None:
        self.clock, self.wall, self.seq, self.model_t = clock, wall, 0, -math.inf

    def frame(self, t: float, seq: int | None = None) -> float:
        self.seq = self.seq + 1 if seq is None else seq
        taken = self.clock.take(FrameHeader(seq=self.seq, t=t), self.model_t).t
        self.model_t = max(self.model_t, taken)
        return taken

    def refused(self, t: float, seq: int | None = None) -> ErrorCode:
        with pytest.raises(FrameError) as caught:
            self.frame(t, seq)
        return caught.value.code

    def wait(self, seconds: float, *, ticks: bool = False) -> None:
        self.wall.t += seconds
        if ticks:
            self.model_t = self.clock.now(self.model_t)


@pytest.fixture
def client(wall: Wall) -> Client:
    return Client(SessionClock(5.0), wall)


def test_an_old_time_is_refused_and_leaves_the_clock_as_it_was(client: Client) -> None:
    for k in range(5):
        client.frame(100 + k / 5)
        client.wait(0.2)
    assert client.refused(0.0) is ErrorCode.FRAME_OUT_OF_ORDER
    assert client.frame(101.0) == 101.0
    client.wait(10.0)
    assert client.refused(100.6, seq=3) is ErrorCode.FRAME_OUT_OF_ORDER  # sent again, late
    assert client.frame(111.0, seq=9) == 111.0


def test_a_time_from_the_future_leaves_the_clock_as_it_was(client: Client) -> None:
    client.frame(100.0)
    client.wait(0.2)
    assert client.refused(106.0) is ErrorCode.FRAME_FROM_FUTURE
    assert client.frame(100.2) == 100.2


def test_the_clock_cannot_be_run_ahead_in_steps(client: Client) -> None:
    client.frame(0.0)
    client.wait(0.2)
    client.frame(4.0)
    for k in range(2, 11):
        client.wait(0.2)
        assert client.refused(4.0 * k) is ErrorCode.FRAME_FROM_FUTURE
    for k in range(11, 50):  # such a clock is no clock: what is taken counts as of now
        client.wait(0.2)
        with contextlib.suppress(FrameError):
            assert client.frame(4.0 * k) <= client.clock.now(client.model_t)
    assert client.clock.now(client.model_t) <= 0.2 * 49 + 5.1


def test_two_honest_clocks_may_drift(client: Client) -> None:
    for k in range(1000):
        client.frame(60.0 * k * 1.0005)
        client.wait(60.0)


def test_late_frames_of_a_stalled_network_do_not_move_the_clock(client: Client) -> None:
    client.frame(100.0)
    client.wait(8.0, ticks=True)
    for k in range(1, 41):
        assert client.frame(100 + k / 5) == 100 + k / 5
    client.wait(0.2)
    assert client.frame(108.2) == 108.2


def test_a_clock_that_stood_still_is_moved_on(client: Client) -> None:
    client.frame(100.0)
    client.wait(60.0, ticks=True)  # the client's machine slept
    taken = []
    for k in range(1, 16):
        taken.append(client.frame(100 + k / 5))
        client.wait(0.2)
    assert taken[0] == 100.2
    assert taken[-1] == pytest.approx(160 + 14 / 5)


def test_a_slow_network_that_recovers_locks_nobody_out(client: Client) -> None:
    """Its frames come late for so long that the clock is moved on, and then in time again."""
    client.frame(100.0)
    for lag in (8.0, 7.6, 7.2, 6.8, 6.4, 6.0, 5.6, 5.2, *np.linspace(5, 0, 40), *[0.0] * 100):
        client.wait(0.3, ticks=True)
        with contextlib.suppress(FrameError):
            client.frame(100.0 + (client.wall.t - 5000.0) - lag + 1e-6 * client.seq)
    client.wait(0.2)
    taken = client.frame(100.0 + (client.wall.t - 5000.0))
    assert taken == pytest.approx(100.0 + client.wall.t - 5000.0, abs=5.1)


def test_a_new_source_whose_clock_is_a_little_ahead_is_taken(client: Client) -> None:
    client.frame(100.0)
    client.wait(1.0)
    client.frame(102.0)  # the first frame was a second late
    client.wait(1.0)
    client.clock.new_source()
    taken = [client.frame(107.5)]
    for _ in range(5):
        client.wait(0.2)
        taken.append(client.frame(107.5 + 0.2 * len(taken)))
    assert taken == sorted(taken)


def test_a_new_source_may_count_anew_but_only_from_a_frame_that_is_taken(client: Client) -> None:
    client.frame(1000.0, seq=900)
    client.wait(1.0)
    client.clock.new_source()
    assert client.refused(1e300, seq=1) is ErrorCode.FRAME_FROM_FUTURE
    assert client.frame(3.0, seq=1) == pytest.approx(1001.0)
    client.wait(0.2)
    assert client.frame(3.2, seq=2) == pytest.approx(1001.2)
    assert client.refused(3.4, seq=2) is ErrorCode.FRAME_OUT_OF_ORDER


@pytest.mark.parametrize("t", [1.5e308, -1.5e308, 1e12])
def test_times_that_are_none_do_no_harm(client: Client, t: float) -> None:
    assert client.refused(t) is ErrorCode.FRAME_FROM_FUTURE
    assert client.frame(1.0) == 1.0
    client.wait(0.2)
    client.clock.new_source()
    assert client.refused(t) is ErrorCode.FRAME_FROM_FUTURE
    assert client.frame(1.2) == 1.2


def test_what_is_told_may_be_of_the_past_but_not_of_the_future(client: Client) -> None:
    assert client.clock.at(77.0, client.model_t) == 0.0  # no clock yet
    client.frame(100.0)
    client.wait(2.0)
    assert client.clock.at(None, client.model_t) == 102.0
    assert client.clock.at(90.0, client.model_t) == 90.0
    assert client.clock.at(106.9, client.model_t) == 106.9
    for t in (107.1, math.nan, math.inf, -math.inf, -1e300):
        with pytest.raises(FrameError):
            client.clock.at(t, client.model_t)
