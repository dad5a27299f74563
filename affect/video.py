"""A video's frames and their times, from a file or a camera; what was wrong with the file is counted, not hidden."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from affect.errors import MediaError, SettingsError
from affect.media import printable
from affect.types import ByteArray

_DEFAULT_FPS = 25.0
_LONGEST_GAP_S = (
    10.0  # a time further ahead of the last is a pause if the container is that long; else its clock jumped
)
_PAUSE_S = 1.0  # a hole longer than this is told
_MOST_FAILURES = 100  # this many frames in a row that cannot be decoded end a video
_SHORT_S = 0.8  # announced durations are wrong by less: healthy files end up to this early
_ROUNDED_S = 0.0005  # Matroska rounds times to milliseconds
_PTS = getattr(cv2, "CAP_PROP_PTS", -1)  # OpenCV before 4.12 has none


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video are taken: every Nth, or `fps` a second by their times.

    Raises:
        SettingsError: Both, or one out of range.
    """

    every: int = 1
    fps: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or not (self.fps is None or 0 < self.fps < math.inf):
            raise SettingsError(f"expected every >= 1 and fps > 0, got {self.every} and {self.fps}")
        if self.every > 1 and self.fps is not None:
            raise SettingsError("expected every or fps, got both")

    def after(self, t: float) -> float:
        """Return when the next frame is due by `fps`: times lie on its grid, so that rounding does not add up."""
        assert self.fps is not None
        return (math.floor((t + _ROUNDED_S) * self.fps) + 1) / self.fps - _ROUNDED_S


EVERY_FRAME = Sampling()


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video: number from 0, seconds from its start, RGB [H, W, 3]."""

    index: int
    t: float
    image: ByteArray


@dataclass(frozen=True, slots=True)
class Hole:
    """A place where times do not go on by the frame rate: number of the frame after it, and seconds."""

    index: int
    seconds: float


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What is known of a video that was read to its end.

    Attributes:
        width, height: Pixels; 0 when no frame came.
        fps: Frames a second, as the container says.
        announced_s: Duration that the container announces; None when it does not say.
        end_s: Where its last frame ends.
        frames: Frames in the file that could be decoded.
        taken: Those of them that were given.
        undecodable: Frames that could not be decoded, between others that could.
        pauses: Holes in the times; they are kept in `t`.
        bridged: Jumps of the container's clock, ahead (or behind, negative); they are left out of `t`.
        cut_short: Whether it ends clearly before its container says.
    """

    width: int
    height: int
    fps: float
    announced_s: float | None
    end_s: float
    frames: int
    taken: int
    undecodable: int
    pauses: tuple[Hole, ...]
    bridged: tuple[Hole, ...]
    cut_short: bool

    def notes(self) -> list[str]:
        """Say in words what whoever uses the times must know; nothing for a healthy file."""
        said = []
        if self.undecodable:
            said.append(f"{self.undecodable} frame{'s' * (self.undecodable > 1)} could not be decoded")
        if self.pauses:
            longest = max(self.pauses, key=lambda pause: pause.seconds)
            many = "a pause" if len(self.pauses) == 1 else f"{len(self.pauses)} pauses, the longest"
            said.append(f"{many} of {longest.seconds:.1f} s before frame {longest.index}")
        if self.bridged:
            first, others = self.bridged[0], len(self.bridged) - 1
            more = f" and {others} more" if others else ""
            said.append(
                f"its clock jumps by {first.seconds:+.1f} s at frame {first.index}{more}: left out of the times"
            )
        if self.cut_short:
            said.append(f"cut short: ends at {self.end_s:.1f} of the {self.announced_s:.1f} s that it announces")
        return said


@dataclass(slots=True)
class _Clock:
    """Makes growing times of those the container gives.

    Where these jump, the frame rate bridges the jump and what follows is counted from there. Ahead within the
    container's duration is no jump but a pause: a recorder stood still.
    """

    fps: float
    duration_s: float | None
    index: int = -1
    last: float = -1.0
    jumped: float = 0.0
    pauses: list[Hole] = field(default_factory=list)
    bridged: list[Hole] = field(default_factory=list)

    def tell(self, index: int, given: float) -> float:
        first, steps = self.index < 0, index - self.index
        t = given - self.jumped
        if not np.isfinite(t) or t <= self.last or self._too_far(t, steps):
            t = index / self.fps if first else self.last + steps / self.fps
            if not first and np.isfinite(given):
                self.bridged.append(Hole(index, given - self.jumped - t))
            self.jumped = given - t if np.isfinite(given) else self.jumped
        elif not first and t - self.last > max(_PAUSE_S + steps / self.fps, 2 * steps / self.fps):
            self.pauses.append(Hole(index, t - self.last))
        self.index, self.last = index, t
        return t

    def _too_far(self, t: float, steps: int) -> bool:
        if t <= self.last + _LONGEST_GAP_S * steps:
            return False
        return self.duration_s is None or t > self.duration_s + _SHORT_S


class Video:
    """A video file or camera as an iterator of frames.

    Args:
        source: A file's path, or a camera's number.
        sampling: Which frames to take.

    Attributes:
        fps: Frames a second.
        total: Frames that the container announces, of those taken; None when it does not say.
        read: Frames given so far.

    Raises:
        MediaError: It cannot be opened.
    """

    def __init__(self, source: Path | int, sampling: Sampling = EVERY_FRAME) -> None:
        self.source, self._sampling = source, sampling
        self._capture = cv2.VideoCapture(source) if isinstance(source, int) else _open(source)
        if not self._capture.isOpened():
            if isinstance(source, int):
                raise MediaError(f"camera {source} cannot be opened")
            raise MediaError(f"{printable(source)}: cannot be opened: empty, cut short, or without a video stream")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        known = np.isfinite(fps) and 0.1 < fps < 1000
        self.fps = fps if known else _DEFAULT_FPS
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        counted = bool(np.isfinite(count) and count > 0)
        # OpenCV counts frames by the duration, or the duration is that of so many: either way this is the duration.
        self.announced_s: float | None = count / fps if counted and known else None
        self.total: int | None = int(count / sampling.every) if counted else None
        if sampling.fps is not None and self.total is not None and self.announced_s is not None:
            self.total = min(self.total, int(self.announced_s * sampling.fps) + 1)
        self.read = 0
        self._clock = _Clock(self.fps, self.announced_s)
        self._next = 0  # number of the next frame in the file
        self._undecodable = 0
        self._given = 0.0
        self._start: float | None = None
        self._size = (0, 0)

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield frames; times come from the container, or from the frame rate where it gives none.

        A frame that cannot be decoded costs itself: those after it are read all the same, as long as they come.
        """
        failed, due = 0, 0.0
        while not self._over(failed):
            if not self._capture.grab():
                failed += 1
                continue
            self._undecodable += failed
            index, failed = self._next + failed, 0
            self._next = index + 1
            self._given = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if self._start is None:
                self._start = max(0.0, self._capture.get(_PTS) / self.fps - self._given)
            if index % self._sampling.every:
                continue
            t = self._clock.tell(index, self._given)
            if self._sampling.fps is not None and t < due:
                continue
            good, bgr = self._capture.retrieve()
            if not good:
                self._undecodable += 1
                continue
            if self._sampling.fps is not None:
                due = self._sampling.after(t)
            self.read += 1
            self._size = (bgr.shape[1], bgr.shape[0])
            yield VideoFrame(index, t, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))

    def _over(self, failed: int) -> bool:
        """Whether so many failures in a row are the end, and not frames that cannot be decoded."""
        if not failed:
            return False
        reached = self.announced_s is not None and self._end_s >= self.announced_s - 1 / self.fps
        return reached or isinstance(self.source, int) or failed >= _MOST_FAILURES

    @property
    def _end_s(self) -> float:
        """End of the last frame on the container's clock; by the frame rate where that is none."""
        counted = self._next / self.fps
        if self._clock.bridged or not np.isfinite(self._given):
            return counted
        return max(counted, self._given + 1 / self.fps)

    @property
    def facts(self) -> VideoFacts:
        """What is known of it by now."""
        # Matroska's duration counts from 0, also where the first frame comes later.
        end = self._end_s + (self._start or 0.0)
        short = self.announced_s is not None and end < self.announced_s - max(_SHORT_S, 5 / self.fps)
        return VideoFacts(
            width=self._size[0],
            height=self._size[1],
            fps=self.fps,
            announced_s=self.announced_s,
            end_s=self._end_s,
            frames=self._next - self._undecodable,
            taken=self.read,
            undecodable=self._undecodable,
            pauses=tuple(self._clock.pauses),
            bridged=tuple(self._clock.bridged),
            cut_short=short,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    """Open a file; OpenCV crashes at a name that is not UTF-8, so such a file is opened by a link."""
    if not any("\udc80" <= letter <= "\udcff" for letter in str(path)):
        return cv2.VideoCapture(str(path))
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"video{printable(path.suffix)}"
        link.symlink_to(path.absolute())
        return cv2.VideoCapture(str(link))
