"""Files through the pipeline: one picture or video becomes lines and events. `affect analyze` and `analyze_video`."""

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from affect.cloudevents import CloudEvent, EventData
from affect.errors import AffectError, MediaError
from affect.media import is_picture, printable
from affect.module import SyncAffectModule
from affect.rows import error_line, flat_row, observation_line
from affect.settings import Settings
from affect.settings.load import load_settings
from affect.types import ByteArray
from affect.video import Sampling, Video, VideoFacts


class Analysis:
    """One file: iterate over it for its lines (see `observation_line`); what was found is counted meanwhile.

    Args:
        path: A picture or video.
        module: A new session, see `SyncAffectModule.for_file`.
        sampling: Which frames of a video.

    Attributes:
        total: Frames expected, as far as is known; from the first line on.
        events: Those of the lines so far; all of them at the end.
        video: What is known of the video; at the end.
        frames, seen, errors: Frames, those with the learner, those that could not be used.
        crowded: Frames with several faces.
        tracks: Ids of the faces that were followed.

    Raises (on iterating):
        AffectError: It cannot be read at all. A bad frame is a line with `error`.
    """

    def __init__(self, path: Path, module: SyncAffectModule, sampling: Sampling) -> None:
        self.path, self._module, self._sampling = path, module, sampling
        self.total: int | None = None
        self.events: list[CloudEvent] = []
        self.video: VideoFacts | None = None
        self.frames = self.seen = self.errors = self.crowded = 0
        self.tracks: set[int] = set()
        self._waiting: deque[tuple[int, float]] = deque()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first_error = ""
        for result in self._module.push_many(self._images()):
            index, t = self._waiting.popleft()
            if isinstance(result, AffectError):
                self.errors += 1
                first_error = first_error or result.message
                line = error_line(result, index, t)
            else:
                observation, events = result
                line = observation_line(observation, index)
                self.events += events
            self._count(line)
            yield line
        if self.errors == self.frames:
            raise MediaError(first_error or "no frame could be read")
        self.events += self._module.end()

    def _count(self, line: dict[str, Any]) -> None:
        self.frames += 1
        self.crowded += line["faces"] > 1
        if line["box"] is not None:
            self.seen += 1
            self.tracks.add(line["track_id"])

    def _images(self) -> Iterator[tuple[bytes | ByteArray, float]]:
        if is_picture(self.path):
            self.total = 1
            self._waiting.append((0, 0.0))
            yield self.path.read_bytes(), 0.0
            return
        with Video(self.path, self._sampling) as video:
            self.total = video.total
            for frame in video:
                self._waiting.append((frame.index, frame.t))
                yield frame.image, frame.t
            self.video = video.facts


class VideoRows(Iterator[dict[str, Any]]):
    """Rows of a video as they come, one a frame; the columns are those of the CSV, None where it is empty.

    Attributes:
        events: Of the learner; complete when the rows are at their end.
        facts: What is known of the video then.
    """

    def __init__(self, path: Path, sampling: Sampling, settings: Settings, module: SyncAffectModule | None) -> None:
        self.events: list[EventData] = []
        self.facts: VideoFacts | None = None
        self._rows = self._read(path, sampling, settings, module)

    def __next__(self) -> dict[str, Any]:
        return next(self._rows)

    def _read(
        self, path: Path, sampling: Sampling, settings: Settings, module: SyncAffectModule | None
    ) -> Iterator[dict[str, Any]]:
        with ExitStack() as stack:
            shared = module or stack.enter_context(SyncAffectModule(settings))
            analysis = Analysis(path, shared.for_file(printable(path.stem)), sampling)
            for line in analysis:
                yield flat_row(line, printable(path))
            self.events, self.facts = [event.data for event in analysis.events], analysis.video


def analyze_video(
    path: str | Path,
    *,
    fps: float | None = None,
    every: int = 1,
    backend: str | Path | None = None,
    settings: Settings | None = None,
    module: SyncAffectModule | None = None,
) -> VideoRows:
    """Analyse a video as `affect analyze` does: `pandas.DataFrame(affect.analyze_video("lesson.mp4", fps=5))`.

    Args:
        path: A video.
        fps: Frames a second to take; 5 is recommended.
        every: Or take every Nth frame.
        backend: A registered backend, or the path of a weights file; the configured one when not given.
        settings: Everything; `affect.toml`, environment and defaults when not given.
        module: Reads many videos with models that are loaded once; its own settings count, not those above.

    Returns:
        An iterator of rows, which also has the events.

    Raises:
        MediaError: No such file; on iterating: it cannot be read.
        SettingsError: Both `fps` and `every`, or one out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{printable(path)}: no such file")
    chosen = settings or load_settings().settings
    if backend is not None:
        inference = chosen.inference.model_copy(update={"backend": str(backend)})
        chosen = chosen.model_copy(update={"inference": inference})
    return VideoRows(path, Sampling(every, fps), chosen, module)
