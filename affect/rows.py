"""One frame of a file as a line of JSON and as a flat row; the columns are described in docs/video.md."""

from typing import Any

from affect.errors import AffectError
from affect.labels import EMOTIONS, STATES
from affect.types import Face, Observation

_POSE = ("yaw", "pitch", "roll")
_BOX = ("x0", "y0", "x1", "y1")
COLUMNS = (
    *("file", "t", "frame", "faces", "track_id", *_BOX, *_POSE),
    *(f"emotion_{emotion.value}" for emotion in EMOTIONS),
    *("valence", "arousal"),
    *(f"state_{state.value}" for state in STATES),
    *("presence", "evidence", "quality", "error"),
)


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


def error_line(error: AffectError, index: int, t: float) -> dict[str, Any]:
    """Return the line of a frame that could not be used."""
    nothing = {**_learner(None), "valence": None, "arousal": None, "states": None}
    told = {"code": error.code.value, "message": error.message}
    return {"t": t, "frame": index, "faces": 0, **nothing, "error": told}


def flat_row(line: dict[str, Any], file: str) -> dict[str, Any]:
    """Return a line as {column: value}, None where there is none; see `COLUMNS`."""
    pose, emotions, states = line["pose"] or {}, line["emotions"] or {}, line["states"] or {}
    return {
        "file": file,
        **{name: line[name] for name in ("t", "frame", "faces", "track_id")},
        **dict(zip(_BOX, line["box"] or [None] * 4, strict=True)),
        **{name: pose.get(name) for name in _POSE},
        **{f"emotion_{emotion.value}": emotions.get(emotion.value) for emotion in EMOTIONS},
        **{name: line[name] for name in ("valence", "arousal")},
        **{f"state_{state.value}": states.get(state.value) for state in STATES},
        **{name: line.get(name) for name in ("presence", "evidence", "quality")},
        "error": _code(line),
    }


def _code(line: dict[str, Any]) -> str | None:
    """What went wrong: with the frame, or with its face, which then has no emotions."""
    if "error" in line:
        return str(line["error"]["code"])
    return str(line["warnings"][0][0]) if line.get("warnings") else None


def _learner(face: Face | None) -> dict[str, Any]:
    if face is None:
        return dict.fromkeys(("box", "track_id", "emotions", "landmarks", "pose", "quality"))
    pose = face.pose
    return {
        "box": _box(face),
        "track_id": face.track_id,
        "emotions": _emotions(face),
        "landmarks": None if face.landmarks is None else [[round(float(v), 2) for v in p] for p in face.landmarks],
        "pose": None if pose is None else {name: _round(getattr(pose, name)) for name in _POSE},
        "quality": _round(face.quality),
    }


def _box(face: Face) -> list[float]:
    return [round(float(v), 2) for v in face.box]


def _emotions(face: Face) -> dict[str, float] | None:
    emotions = face.emotions()
    return None if emotions is None else {name: round(p, 6) for name, p in emotions.items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
