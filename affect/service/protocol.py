"""The wire protocol `affect.v1`: every message as a model; unions discriminated on `type`.

Text frames are JSON. Pictures are binary frames, see `affect.service.framing`. The JSON Schema and the AsyncAPI
document in `docs/protocol/` are generated from this module.
"""

from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from affect.cloudevents import CloudEvent
from affect.errors import ErrorCode
from affect.labels import LearnerState
from affect.settings.service import Context

SUBPROTOCOL = "affect.v1"
LISTEN_SUBPROTOCOL = "cloudevents.json"

SessionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
Jurisdiction = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^([A-Za-z]{2}|[Ee][Ee][Aa])$")
]
Media = Literal["image/jpeg", "image/png", "image/webp"]
Role = Literal["learner", "tutor"]


class CloseCode(IntEnum):
    """Why a socket was closed: standard codes and our own."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    TRY_LATER = 1013
    BAD_HELLO = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    NO_SESSION = 4404  # a tutor asked to resume a session that does not exist
    HELLO_TIMEOUT = 4408
    REPLACED = 4409
    VERSION = 4426
    POLICY = 4451
    BACKEND_UNAVAILABLE = 4503


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# To the service


class Resume(Message):
    """Where a client stopped listening."""

    after: int = Field(ge=0, description="`seq` of the last event it has; 0 for none.")
    run: str | None = Field(
        default=None, max_length=64, description="`run` of the welcome it had; `after` counts within that run."
    )


class Hello(Message):
    """First message, within `hello_timeout_s`."""

    type: Literal["hello"] = "hello"
    protocol: str = Field(description="`affect.v1`; another is refused with close code 4426.")
    client: str = Field(max_length=200, description="Name and version of the client, for logs.")
    roles: list[Role] = Field(min_length=1, description="A learner sends frames, a tutor receives events.")
    session: SessionName | None = Field(default=None, description="Join or create this session; new when absent.")
    token: str | None = Field(default=None, description="Needed when the service has one.")
    resume: Resume | None = None
    observations: bool = Field(default=False, description="Also send an `observation` for every frame.")


class Consent(Message):
    """Grants or revokes the processing of pictures for this session; no frame is accepted before a grant."""

    type: Literal["consent"] = "consent"
    granted: bool
    context: Context | None = Field(default=None, description="Where it is used; the service's setting by default.")
    jurisdiction: Jurisdiction | None = Field(default=None, description="ISO 3166 alpha-2 country, EU or EEA.")
    purpose: str | None = Field(default=None, max_length=500)


class Evidence(Message):
    """Something the host saw the learner do."""

    type: Literal["evidence"] = "evidence"
    kind: str = Field(max_length=64, description="answer_correct, answer_wrong, hint_request, …; see the settings.")
    t: float | None = Field(
        default=None, description="Seconds on the session's clock, as in `observation.t`; now when absent."
    )


class Correct(Message):
    """The learner or tutor says which state is true; weighed as strong evidence and recorded as an event."""

    type: Literal["correct"] = "correct"
    state: LearnerState
    t: float | None = Field(
        default=None, description="Seconds on the session's clock, as in `observation.t`; now when absent."
    )


class Ping(Message):
    """Asks for a `pong` with the same id; for clients that cannot see websocket pings."""

    type: Literal["ping"] = "ping"
    id: int = 0


class Bye(Message):
    """Ends the session: open states get their offset, buffers are dropped."""

    type: Literal["bye"] = "bye"
    reason: str | None = Field(default=None, max_length=200)


class FrameHeader(Message):
    """JSON header of a binary frame."""

    seq: int = Field(ge=0, description="Growing within the session.")
    t: float = Field(description="Capture time in seconds on the client's clock.")
    media: Media = "image/jpeg"


ClientMessage = Annotated[Hello | Consent | Evidence | Correct | Ping | Bye, Field(discriminator="type")]

# From the service


class Limits(Message):
    """What the service accepts."""

    max_message_bytes: int
    max_pixels: int
    min_side: int
    max_fps: float


class Server(Message):
    """Who answers."""

    name: str
    version: str


class Welcome(Message):
    """Answer to `hello`."""

    type: Literal["welcome"] = "welcome"
    protocol: str = SUBPROTOCOL
    session: str
    server: Server
    backend: str
    detector: str
    labels: list[str] = Field(description="Emotions, in the order of every list of seven.")
    states: list[str] = Field(description="Learner states.")
    evidence: list[str] = Field(description="Kinds of host evidence this service knows.")
    limits: Limits
    heartbeat_s: float
    consent: bool = Field(description="Whether this session has a grant.")
    context: Context = Field(description="What holds when `consent` names no context.")
    jurisdiction: str = Field(description="What holds when `consent` names none; may be empty.")
    run: str = Field(description="Identifies this life of the session; changes when the service restarts.")
    resumed: bool = Field(
        description="Whether `resume` was asked for and this run of the session was meant: events after "
        "`resume.after` follow, as far as they are kept. False with `resume`: another run; all its events follow."
    )


class OpenState(Message):
    """A state that has begun and not ended."""

    state: str
    t_start: float


class Snapshot(Message):
    """Where the session stands; sent after `welcome`, and when consent changed."""

    type: Literal["snapshot"] = "snapshot"
    session: str
    t: float | None = Field(description="Of the last estimate.")
    seq: int = Field(description="Of the last event.")
    states: dict[str, float] | None
    valence: float | None
    arousal: float | None
    presence: str
    evidence: str = Field(description="What the last estimate rests on: face | host | none.")
    open: list[OpenState]
    consent: bool


class Event(Message):
    """A learner event."""

    type: Literal["event"] = "event"
    replayed: bool = Field(default=False, description="Sent before, or missed while away.")
    event: CloudEvent


class Pose(Message):
    """Head pose in degrees."""

    yaw: float
    pitch: float
    roll: float


class FaceMessage(Message):
    """A face of an observation."""

    track_id: int
    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in pixels of the frame as sent.")
    landmarks: list[tuple[float, float]] | None = Field(
        description="Eyes, nose, mouth corners; the left of the picture first."
    )
    score: float
    pose: Pose | None
    quality: float
    emotions: dict[str, float] | None


class ObservationMessage(Message):
    """Everything about one frame; opt-in by `hello.observations`."""

    type: Literal["observation"] = "observation"
    t: float
    seq: int
    width: int
    height: int
    faces: list[FaceMessage]
    followed: int | None = Field(description="track_id of the learner, or null.")
    states: dict[str, float]
    valence: float | None
    arousal: float | None
    presence: str
    evidence: str
    latency_ms: float = Field(description="From the frame's arrival to this observation.")


class Latency(Message):
    """Frame to observation, milliseconds, over the last frames."""

    p50: float
    p95: float


class Status(Message):
    """Sent every `status_s`: tells a calm learner from no face from a dead service."""

    type: Literal["status"] = "status"
    t: float | None
    fps: float = Field(description="Observations a second since the last status.")
    received: int
    dropped: int = Field(description="Frames replaced by newer ones, in all.")
    failed: int = Field(description="Frames that gave an error, in all.")
    latency_ms: Latency | None
    presence: str
    evidence_age_s: float | None = Field(
        description="Since a face could be read or the host told something; null before the first time. With "
        "`presence: present` and a high age somebody is there whose face cannot be read."
    )
    suppressed: int = Field(description="Onsets held back by the budget of actionable ones, in all.")
    consent: bool
    backend_ok: bool


class Flow(Message):
    """Frames were dropped because newer ones came first; send fewer."""

    type: Literal["flow"] = "flow"
    dropped: int = Field(description="In all.")
    since_last: int
    suggested_fps: float


class Error(Message):
    """Something went wrong; the session goes on unless `fatal`."""

    type: Literal["error"] = "error"
    code: ErrorCode
    message: str
    fatal: bool = False
    ref: int | str | None = Field(default=None, description="`seq` of the frame, or `type` of the message.")


class Pong(Message):
    """Answer to `ping`."""

    type: Literal["pong"] = "pong"
    id: int = 0


ServerMessage = Annotated[
    Welcome | Snapshot | Event | ObservationMessage | Status | Flow | Error | Pong,
    Field(discriminator="type"),
]

CLIENT_ADAPTER: TypeAdapter[Any] = TypeAdapter(ClientMessage)
SERVER_ADAPTER: TypeAdapter[Any] = TypeAdapter(ServerMessage)
