"""`affect analyze`: per input a JSONL and CSV of observations, a JSONL and CSV of events, and a timeline plot.

Files are written beside their final name and moved there when complete, so that an interrupted run leaves no half
file that looks whole.
"""

import csv
import json
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from affect.cli.timeline import Timeline, plot_timeline
from affect.cloudevents import CloudEvent
from affect.errors import AffectError, MediaError
from affect.labels import EMOTIONS, STATES
from affect.media import expand, is_picture
from affect.module import SyncAffectModule
from affect.pipeline import with_offline_search
from affect.settings import Settings
from affect.types import ByteArray, Face, Observation
from affect.video import Video

_POSE = ("yaw", "pitch", "roll")
_CSV_COLUMNS = (
    *("t", "frame", "faces", "track_id", "x0", "y0", "x1", "y1", *_POSE),
    *(f"emotion_{emotion.value}" for emotion in EMOTIONS),
    *("valence", "arousal"),
    *(f"state_{state.value}" for state in STATES),
)
_EVENT_COLUMNS = ("seq", "state", "phase", "confidence", "t", "t_start", "t_end", "reason", "evidence")


def run(inputs: Sequence[Path], out: Path, settings: Settings, *, every: int, plot: bool) -> int:
    """Analyse every input; returns the exit code: 0, or 1 when any input failed.

    Raises:
        AffectError: An input is missing, or the backend could not be created.
    """
    files = expand(inputs)
    names = output_names(files)
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        SyncAffectModule(with_offline_search(settings)) as module,
        Progress(*columns, console=Console(stderr=True)) as progress,
    ):
        whole = progress.add_task("all inputs", total=len(files))
        for path, name in zip(files, names, strict=True):
            try:
                summary = analyse_file(path, out / name, module.another(name), progress, every=every, plot=plot)
                click.echo(summary)
            except (AffectError, OSError) as exc:
                failed += 1
                click.echo(f"{path}: {exc}", err=True)
            progress.advance(whole)
    return 1 if failed else 0


def output_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file's outputs: its stem; with its suffix and folders where stems collide."""
    stems = [path.stem for path in files]
    names: list[str] = []
    for path, stem in zip(files, stems, strict=True):
        name = stem if stems.count(stem) == 1 else path.name
        number = 2
        unique = name
        while unique in names:
            unique, number = f"{name}-{number}", number + 1
        names.append(unique)
    return names


def analyse_file(
    path: Path, base: Path, module: SyncAffectModule, progress: Progress, *, every: int, plot: bool
) -> str:
    """Analyse one file and write its outputs `BASE.*`; returns one line that says what was found.

    Lines go out as they come, so that a long video costs no memory but a few numbers a frame for the plot.

    Raises:
        AffectError: It cannot be read at all. A bad frame is a line with `error`.
    """
    timeline = Timeline()
    events: list[CloudEvent] = []
    frames = seen = errors = 0
    first_error = ""
    task = progress.add_task(path.name, total=None)
    waiting: deque[tuple[int, float]] = deque()
    notes: list[str] = []

    def feed() -> Iterator[tuple[bytes | ByteArray, float]]:
        for index, t, image in _frames(path, every, progress, task, notes):
            waiting.append((index, t))
            yield image, t

    try:
        with (
            Writer(base.with_name(base.name + ".observations.jsonl")) as lines,
            Writer(base.with_name(base.name + ".observations.csv")) as rows,
        ):
            table = csv.writer(rows)
            table.writerow(_CSV_COLUMNS)
            for result in module.push_many(feed()):
                index, t = waiting.popleft()
                if isinstance(result, AffectError):
                    errors += 1
                    first_error = first_error or result.message
                    line: dict[str, Any] = {"t": t, "frame": index, "faces": 0, **_nothing()}
                    line["error"] = {"code": result.code.value, "message": result.message}
                else:
                    observation, new = result
                    line = observation_line(observation, index)
                    events += new
                frames += 1
                seen += line["box"] is not None
                lines.write(json.dumps(line) + "\n")
                table.writerow(_csv_row(line))
                timeline.add(line)
                progress.advance(task)
            if errors == frames:
                raise MediaError(f"{path}: {first_error or 'no frame could be read'}")
        events += module.end()
    finally:
        progress.remove_task(task)
    _write_events(base, events)
    if plot and not is_picture(path):
        plot_timeline(base, timeline, [event.data for event in events])
    onsets = sum(event.data.phase == "onset" for event in events)
    bad = f", {errors} bad frames" if errors else ""
    return f"{path}: {frames} frames, learner in {seen}, {onsets} onsets{bad}{''.join(notes)} -> {base}.*"


def observation_line(observation: Observation, index: int) -> dict[str, Any]:
    """Return one line of `NAME.observations.jsonl`; `faces` counts, `all_faces` holds the others' boxes too."""
    frame, estimate = observation.frame, observation.estimate
    return {
        "t": round(frame.t, 4),
        "frame": index,
        "faces": len(frame.faces),
        **_learner(frame.learner),
        "valence": _round(estimate.valence),
        "arousal": _round(estimate.arousal),
        "states": {name: round(p, 5) for name, p in estimate.state_map().items()},
        "presence": estimate.presence.value,
        "evidence": estimate.evidence.value,
        "all_faces": [
            {"track_id": face.track_id, "box": _box(face), "emotions": _emotions(face)} for face in frame.faces
        ],
        **({"warnings": [list(w) for w in frame.warnings]} if frame.warnings else {}),
    }


def _learner(face: Face | None) -> dict[str, Any]:
    if face is None:
        return {
            "box": None,
            "track_id": None,
            "emotions": None,
            "landmarks": None,
            "pose": None,
            "quality": None,
        }
    pose = face.pose
    return {
        "box": _box(face),
        "track_id": face.track_id,
        "emotions": _emotions(face),
        "landmarks": None if face.landmarks is None else [[round(float(v), 2) for v in p] for p in face.landmarks],
        "pose": None
        if pose is None
        else {"yaw": _round(pose.yaw), "pitch": _round(pose.pitch), "roll": _round(pose.roll)},
        "quality": _round(face.quality),
    }


def _nothing() -> dict[str, Any]:
    return {**_learner(None), "valence": None, "arousal": None, "states": None}


def _box(face: Face) -> list[float]:
    return [round(float(v), 2) for v in face.box]


def _emotions(face: Face) -> dict[str, float] | None:
    emotions = face.emotions()
    return None if emotions is None else {name: round(p, 6) for name, p in emotions.items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _frames(
    path: Path, every: int, progress: Progress, task: Any, notes: list[str]
) -> Iterator[tuple[int, float, bytes | ByteArray]]:
    if is_picture(path):
        progress.update(task, total=1)
        yield 0, 0.0, path.read_bytes()
        return
    with Video(path, every) as video:
        progress.update(task, total=video.total)
        for frame in video:
            yield frame.index, frame.t, frame.image
        notes += [f", {note}" for note in video.facts.notes()]


class Writer:
    """A text file that takes its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + ".partial")
        self._file: IO[str] = self._partial.open("w", encoding="utf-8", newline="")

    def write(self, text: str) -> None:
        """Write."""
        self._file.write(text)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _write_events(base: Path, events: Sequence[CloudEvent]) -> None:
    with Writer(base.with_name(base.name + ".events.jsonl")) as file:
        for event in events:
            file.write(event.model_dump_json() + "\n")
    with Writer(base.with_name(base.name + ".events.csv")) as file:
        table = csv.writer(file)
        table.writerow(_EVENT_COLUMNS)
        for event in events:
            data = event.data.model_dump()
            table.writerow(["" if data[c] is None else data[c] for c in _EVENT_COLUMNS])


def _csv_row(line: dict[str, Any]) -> list[Any]:
    """Return a line of the JSONL as the columns of the CSV; what is missing stays empty."""
    pose, p, states = line["pose"] or {}, line["emotions"] or {}, line["states"] or {}
    row = [line["t"], line["frame"], line["faces"], line["track_id"], *(line["box"] or [None] * 4)]
    row += [pose.get(name) for name in _POSE]
    row += [p.get(emotion.value) for emotion in EMOTIONS]
    row += [line["valence"], line["arousal"]]
    row += [states.get(state.value) for state in STATES]
    return ["" if value is None else value for value in row]
