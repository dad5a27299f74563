"""Files as frames: videos, pictures, folders of them; and the local camera."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from affect.errors import MediaError
from affect.types import ByteArray

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
VIDEOS = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".gif", ".mjpeg", ".mjpg", ".mpg", ".mpeg", ".wmv"}
)
_DEFAULT_FPS = 25.0
_LONGEST_GAP_S = 10.0  # a timestamp further ahead of the last than this is no pause: the clock has jumped


def expand(inputs: Iterable[Path]) -> list[Path]:
    """Return the media files of files and folders; a folder stands for all pictures and videos in it, sorted.

    Raises:
        MediaError: No such file, an unknown kind, or a folder without any.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if _is_media(p))
            if not found:
                raise MediaError(f"{path}: no pictures or videos in this folder")
            files += found
        elif not path.exists():
            raise MediaError(f"{path}: no such file")
        elif path.suffix.lower() not in PICTURES | VIDEOS:
            kinds = " ".join(sorted(PICTURES | VIDEOS))
            raise MediaError(f"{path}: expected a picture or video ({kinds})")
        else:
            files.append(path)
    return files


def _is_media(path: Path) -> bool:
    """Whether a file of a folder is meant: a picture or video, but no plot of ours."""
    known = path.suffix.lower() in PICTURES | VIDEOS
    return known and not path.name.endswith(".timeline.png") and path.is_file()


def is_picture(path: Path) -> bool:
    """Whether a file is a picture by its name."""
    return path.suffix.lower() in PICTURES


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video: number from 0, seconds from its start, RGB [H, W, 3]."""

    index: int
    t: float
    image: ByteArray


class Video:
    """A video file or camera as an iterator of frames.

    Args:
        source: A file's path, or a camera's number.
        every: Take every Nth frame.

    Attributes:
        fps: Frames a second.
        total: Frames that the container announces, of those taken; None when it does not say.
        read: Frames given so far.

    Raises:
        MediaError: It cannot be opened.
    """

    def __init__(self, source: Path | int, every: int = 1) -> None:
        self.source, self._every = source, every
        self._capture = cv2.VideoCapture(source if isinstance(source, int) else str(source))
        if not self._capture.isOpened():
            what = f"camera {source}" if isinstance(source, int) else f"{source}: as a video"
            raise MediaError(f"{what} cannot be opened")
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.fps = fps if np.isfinite(fps) and 0.1 < fps < 1000 else _DEFAULT_FPS
        total = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.total: int | None = int(total / every) if np.isfinite(total) and total > 0 else None
        self.read = 0
        self.bridged: list[tuple[int, float]] = []
        """Where the container's times jumped: number of the frame, and seconds that its time was ahead (or behind)."""

    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield frames; times come from the container, or from the frame rate where it gives none.

        Where the container's times jump, the frame rate bridges the jump and what follows is counted from there.
        """
        index, last, jumped = 0, -1.0, 0.0
        while True:
            if index % self._every:
                if not self._capture.grab():
                    return
                index += 1
                continue
            good, bgr = self._capture.read()
            if not good:
                return
            given = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            t = given - jumped
            if not np.isfinite(t) or t <= last or t > last + _LONGEST_GAP_S * self._every:
                t = last + self._every / self.fps if index else 0.0
                if index and np.isfinite(given):
                    self.bridged.append((index, given - jumped - t))
                jumped = given - t if np.isfinite(given) else jumped
            last = t
            self.read += 1
            yield VideoFrame(index, t, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))
            index += 1

    @property
    def ends_early(self) -> bool:
        """Whether, read to its end, it gave clearly fewer frames than its container announces: a file cut short."""
        # Containers that only know a duration are off by a few frames.
        return self.total is not None and self.read < self.total - max(5, 0.1 * self.total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._capture.release()
