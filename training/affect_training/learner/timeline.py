"""Event-level figures on labelled time lines: event-F1 with collar, onset latency, false alarms an hour.

DIR/timeline.csv has session,start_s,end_s,state (and split, if there are several): what an observer or the learner
said. Times that nobody labelled count as neutral. Beside it lies, for each session, a video SESSION.* or the
observations SESSION.observations.jsonl of `affect analyze`; and evidence.csv with session,t,kind, if the host logged
what it saw. Observations hold no embeddings: with them an estimator gives the evidence of `hmm`.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affect.errors import MediaError, SettingsError
from affect.fits import new_estimator
from affect.labels import EMOTIONS, STATES, LearnerState, OffsetReason, Phase
from affect.learner.model import LearnerModel
from affect.learner.score import Score, Segment, add_session
from affect.media import VIDEOS
from affect.plugins import PluginHost
from affect.settings import Settings
from affect.types import Face, FrameFaces, HeadPose, LearnerEvent
from affect.version import __version__
from affect_training.learner.watch import Progress, Watcher

_NEUTRAL = STATES.index(LearnerState.NEUTRAL)


@dataclass(frozen=True, slots=True)
class TimelineSession:
    """One labelled session: true segments, the host's evidence (t, kind), and where what was seen lies, if anywhere."""

    name: str
    truth: tuple[Segment, ...]
    evidence: tuple[tuple[float, str], ...]
    source: Path | None


def is_timeline(folder: Path) -> bool:
    """Whether a folder holds labelled time lines."""
    return (folder / "timeline.csv").is_file()


def read_timeline(folder: Path, split: str) -> list[TimelineSession]:
    """Read the sessions of a split; all when the time line names none.

    Raises:
        SettingsError: No session is of that split.
        MediaError: A row is wrong.
    """
    path = folder / "timeline.csv"
    rows = _rows(path, ("session", "start_s", "end_s", "state"))
    chosen = [row for row in rows if row.get("split", split) == split]
    if not chosen:
        there = ", ".join(sorted({row["split"] for row in rows})) or "nothing"
        raise SettingsError(f"{path}: no split {split!r}; it has {there}")
    hosts = folder / "evidence.csv"
    told = _rows(hosts, ("session", "t", "kind")) if hosts.is_file() else []
    if strange := sorted({row["session"] for row in told} - {row["session"] for row in rows}):
        raise MediaError(f"{hosts}: session {strange[0]!r} is not in {path.name}")
    sessions = []
    for name in dict.fromkeys(row["session"] for row in chosen):
        truth = sorted(
            (_segment(row, path) for row in chosen if row["session"] == name), key=lambda segment: segment.start
        )
        evidence = sorted((_number(row["t"], hosts), row["kind"]) for row in told if row["session"] == name)
        sessions.append(TimelineSession(name, tuple(truth), tuple(evidence), _source(folder, name)))
    return sessions


def evaluate(
    sessions: Sequence[TimelineSession],
    settings: Settings,
    host: PluginHost,
    progress: Progress,
    *,
    every: int = 1,
) -> dict[str, Any]:
    """Run the learner model over sessions and compare its events with the truth.

    Args:
        sessions: With video or observations.
        settings: Backend, estimator, events.
        host: Plugins.
        progress: Called after each session.
        every: Of a video, take every Nth frame.

    Returns:
        `events`: {state or "all": event-F1, hits, false alarms, misses, latencies, false alarms an hour}, and what
        was scored.
    """
    watcher: Watcher | None = None
    whole = Score()
    by_state: dict[LearnerState, Score] = {state: Score() for state in STATES if state is not LearnerState.NEUTRAL}
    for session in sessions:
        if session.source is None:
            raise MediaError(
                f"session {session.name!r} has neither a video {session.name}.* nor {session.name}.observations.jsonl"
            )
        if session.source.suffix == ".jsonl":
            frames = list(_observations(session.source))
        else:
            watcher = watcher or Watcher(settings, host)
            frames = watcher.video(session.source, every)
        if len(frames) < 2:
            raise MediaError(f"{session.source}: {len(frames)} frames are no session")
        _add(whole, by_state, session, frames, LearnerModel(settings.learner, new_estimator(settings, host)))
        progress(1)
    return {
        "backend": settings.inference.backend_word,
        "estimator": settings.learner.estimator,
        "sessions": len(sessions),
        "hours": whole.hours,
        "nll": whole.nll,
        "events": {"all": _figures(whole), **{state.value: _figures(score) for state, score in by_state.items()}},
        "version": __version__,
    }


def _add(
    whole: Score,
    by_state: dict[LearnerState, Score],
    session: TimelineSession,
    frames: Sequence[FrameFaces],
    model: LearnerModel,
) -> None:
    """Run one session and add it to the scores."""
    events: list[LearnerEvent] = []
    belief = np.empty((len(frames), len(STATES)))
    shown = np.empty(len(frames), np.int64)
    waiting = list(session.evidence)
    for k, frame in enumerate(frames):
        while waiting and waiting[0][0] <= frame.t:
            events += model.host(*waiting.pop(0))[1]
        observation = model.observe(frame)
        events += observation.events
        belief[k] = observation.estimate.states
        shown[k] = STATES.index(next(reversed(model.policy.open_states), LearnerState.NEUTRAL))
    events += model.end(OffsetReason.SESSION_END)
    found = detections(events)
    t = np.array([frame.t for frame in frames])
    truth = np.full(len(t), _NEUTRAL, np.int64)
    for segment in session.truth:
        truth[(t >= segment.start) & (t < segment.end)] = STATES.index(segment.state)
    add_session(whole, t, truth, found, shown, belief)
    for state, score in by_state.items():
        place = STATES.index(state)
        own = np.where(truth == place, place, _NEUTRAL)
        own_shown = np.where(shown == place, place, _NEUTRAL)
        add_session(score, t, own, [segment for segment in found if segment.state is state], own_shown, belief)


def detections(events: Sequence[LearnerEvent]) -> list[Segment]:
    """Pair onsets with offsets; a detection starts when it was announced."""
    found, opened = [], dict[str, float]()
    for event in events:
        if event.phase == Phase.ONSET:
            opened[event.kind] = event.t
        elif event.phase == Phase.OFFSET:
            found.append(Segment(LearnerState(event.kind), opened.pop(event.kind), event.t))
    return sorted(found, key=lambda segment: segment.start)


def _figures(score: Score) -> dict[str, float | int | None]:
    def known(value: float) -> float | None:
        return None if np.isnan(value) else value

    return {
        "event_f1": score.event_f1,
        "hits": score.hits,
        "false_alarms": score.false_alarms,
        "misses": score.misses,
        "onset_p50_s": known(score.latency(50)),
        "onset_p95_s": known(score.latency(95)),
        "false_alarms_per_hour": score.false_alarms_per_hour,
    }


def _observations(path: Path) -> Iterator[FrameFaces]:
    """Yield frames as `affect analyze` wrote them; lines of frames that failed are left out."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            seen = json.loads(line)
            if "error" not in seen:
                yield _frame(seen)
        except (ValueError, KeyError, TypeError) as exc:
            raise MediaError(f"{path}: line {number} is no observation: {type(exc).__name__}: {exc}") from exc


def _frame(seen: dict[str, Any]) -> FrameFaces:
    face: Face | None = None
    if seen["box"] is not None:
        pose, emotions = seen["pose"], seen["emotions"]
        face = Face(
            track_id=seen["track_id"],
            box=np.array(seen["box"], np.float32),
            landmarks=None if seen["landmarks"] is None else np.array(seen["landmarks"], np.float32),
            score=1.0,
            pose=None if pose is None else HeadPose(pose["yaw"], pose["pitch"], pose["roll"]),
            quality=seen["quality"],
            probabilities=None if emotions is None else np.array([emotions[e.value] for e in EMOTIONS], np.float32),
        )
    return FrameFaces(
        t=float(seen["t"]),
        seq=int(seen["frame"]),
        width=0,
        height=0,
        faces=() if face is None else (face,),
        followed=None if face is None else face.track_id,
    )


def _source(folder: Path, name: str) -> Path | None:
    paths = [*(folder / f"{name}{suffix}" for suffix in sorted(VIDEOS)), folder / f"{name}.observations.jsonl"]
    return next((path for path in paths if path.is_file()), None)


def _segment(row: dict[str, str], path: Path) -> Segment:
    start, end = _number(row["start_s"], path), _number(row["end_s"], path)
    try:
        state = LearnerState(row["state"])
    except ValueError as exc:
        raise MediaError(f"{path}: no state {row['state']!r}; known: {', '.join(STATES)}") from exc
    if not start < end:
        raise MediaError(f"{path}: session {row['session']}: a segment from {start} to {end} s")
    return Segment(state, start, end)


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError as exc:
        raise MediaError(f"{path}: {text!r} is no number of seconds") from exc
    if not np.isfinite(value):
        raise MediaError(f"{path}: {text!r} is no number of seconds")
    return value


def _cells(row: dict[str | Any, str | Any], where: str) -> dict[str, str]:
    """Return a row without blanks around names and values; cells beyond the header, as of a comma at the end, go."""
    beyond = row.pop(None, [])  # where csv puts them
    if any(cell.strip() for cell in beyond):
        raise MediaError(f"{where}: more cells than columns: {', '.join(beyond)}")
    return {name.strip(): (value or "").strip() for name, value in row.items()}


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [_cells(row, f"{path}, row {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise MediaError(f"{path}: {exc}") from exc
    if rows and (missing := set(columns) - set(rows[0])):
        raise MediaError(f"{path}: no column {', '.join(sorted(missing))}")
    if not rows:
        raise MediaError(f"{path}: no rows")
    return rows
