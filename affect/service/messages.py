"""Pipeline values as wire messages."""

from affect.service.protocol import FaceMessage, ObservationMessage, Pose
from affect.types import Face, Observation


def observation_message(observation: Observation, latency_s: float) -> ObservationMessage:
    """Return the wire form of an observation; `latency_s` is from the frame's arrival to now."""
    frame, estimate = observation.frame, observation.estimate
    return ObservationMessage(
        t=frame.t,
        seq=frame.seq,
        width=frame.width,
        height=frame.height,
        faces=[face_message(face) for face in frame.faces],
        followed=frame.followed,
        states={name: round(p, 4) for name, p in estimate.state_map().items()},
        valence=estimate.valence,
        arousal=estimate.arousal,
        presence=estimate.presence.value,
        evidence=estimate.evidence.value,
        latency_ms=round(latency_s * 1000, 1),
    )


def face_message(face: Face) -> FaceMessage:
    """Return the wire form of a face."""
    x0, y0, x1, y1 = (round(float(v), 1) for v in face.box)
    emotions = face.emotions()
    return FaceMessage(
        track_id=face.track_id,
        box=(x0, y0, x1, y1),
        landmarks=None
        if face.landmarks is None
        else [(round(float(x), 1), round(float(y), 1)) for x, y in face.landmarks],
        score=round(face.score, 4),
        pose=None
        if face.pose is None
        else Pose(yaw=round(face.pose.yaw, 1), pitch=round(face.pose.pitch, 1), roll=round(face.pose.roll, 1)),
        quality=round(face.quality, 3),
        emotions=None if emotions is None else {name: round(p, 4) for name, p in emotions.items()},
    )
