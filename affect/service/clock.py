"""The clock of one session: it runs on the frames' own times, and learners who come back may count anew."""

import math
import time

from affect.errors import ErrorCode, FrameError
from affect.service.protocol import FrameHeader

_MOST_T = 1e12  # larger times leave no room for milliseconds
_WRONG_S = 2.0  # frames further from the clock than `max_skew_s` for this long: it is the clock that is wrong
_DRIFT = 1e-3  # how fast two honest clocks may part


class SessionClock:
    """Translates the times of frames and tells the present.

    Nothing of a frame that is refused is kept: one bad time does not move the clock.

    Args:
        max_skew_s: How far ahead of the first frame's clock a frame may be, and how far behind; where all frames of two
            seconds are further away, the clock is set anew, to the present.
    """

    def __init__(self, max_skew_s: float) -> None:
        self._max_skew_s = max_skew_s
        self._born = time.monotonic()
        # Frame time minus ours, of the first frame and of the one that arrived fastest.
        self._first: tuple[float, float] | None = None
        self._offset = 0.0
        self._shift = 0.0
        self._last_seq, self._last_t = -1, -math.inf
        self._new_source = False
        self._behind_since: float | None = None
        self._ahead_since: float | None = None

    @property
    def running(self) -> bool:
        """Whether there was a frame."""
        return self._first is not None

    def new_source(self) -> None:
        """Let the next frame begin a new count, and if it must, a new clock: the learner has a new socket."""
        self._new_source = True

    def now(self, model_t: float) -> float:
        """Return the present; before the first frame, seconds since the session began.

        Args:
            model_t: Time of the last thing the learner model took.
        """
        if self._first is None:
            return max(model_t, time.monotonic() - self._born)
        return time.monotonic() + self._offset

    def at(self, t: float | None, model_t: float) -> float:
        """Return when something happened: now, or `t` unless it would push the clock ahead.

        Raises:
            FrameError: `t` is from the future.
        """
        now = self.now(model_t)
        if t is None or self._first is None:
            return now  # before the first frame there is no clock that `t` could be on
        if not -_MOST_T < t <= now + self._max_skew_s:
            raise self._from_future(t - now)
        return t

    def take(self, header: FrameHeader, model_t: float) -> FrameHeader:
        """Return a frame's header with its time on the session's clock.

        Raises:
            FrameError: Out of order or from the future.
        """
        if not abs(header.t) < _MOST_T:
            raise FrameError(f"t {header.t}: expected seconds", code=ErrorCode.FRAME_FROM_FUTURE)
        now = time.monotonic()
        shift, behind_since = self._moved(header.t, model_t, now)
        t = header.t + shift
        if (header.seq <= self._last_seq and not self._new_source) or t <= self._last_t:
            raise FrameError(
                f"frame seq {header.seq}, t {t:.3f} after seq {self._last_seq}, t {self._last_t}; both grow",
                code=ErrorCode.FRAME_OUT_OF_ORDER,
            )
        offset = t - now
        if self._first is None:
            self._first, self._offset = (offset, now), offset
        ahead = offset - self._first[0] - _DRIFT * (now - self._first[1])
        if ahead > self._max_skew_s:
            if self._ahead_since is None:
                self._ahead_since = now
            if not self._new_source and now - self._ahead_since < _WRONG_S:
                raise self._from_future(ahead)
            # Not one bad frame: the client's clock was moved, or ours too far when it seemed to stand still.
            shift -= t - self.now(model_t)
            t = header.t + shift
            if t <= self._last_t:
                raise self._from_future(ahead)
            offset = t - now
        self._offset = max(self._offset, offset)
        self._shift, self._behind_since, self._ahead_since, self._new_source = shift, behind_since, None, False
        self._last_seq, self._last_t = header.seq, t
        return header.model_copy(update={"t": t}) if shift else header

    def _moved(self, t: float, model_t: float, now: float) -> tuple[float, float | None]:
        """Return what to add to a frame's time, and since when frames have come too late."""
        t += self._shift
        if self._new_source:
            if self._first is None and not math.isfinite(model_t):
                return self._shift, None
            ahead = t - self.now(model_t)  # what the host told has started the clock, if no frame has
            far = abs(ahead) > self._max_skew_s or t <= self._last_t
            return self._shift - ahead if far else self._shift, None
        if model_t - t <= self._max_skew_s:
            return self._shift, None
        if self._behind_since is None:
            return self._shift, now
        if now - self._behind_since < _WRONG_S:
            return self._shift, self._behind_since
        return self._shift + self.now(model_t) - t, None  # the clock stood still, a suspended machine's for one

    def _from_future(self, ahead: float) -> FrameError:
        return FrameError(
            f"t is {ahead:.1f} s ahead of the session's clock, at most {self._max_skew_s:g} s are accepted",
            code=ErrorCode.FRAME_FROM_FUTURE,
        )
