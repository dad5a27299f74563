"""Settings of the websocket service."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Context = Literal["self_directed", "research", "education_institution", "workplace"]


class ServiceSettings(BaseModel):
    """Address, limits, trust."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Address
    host: str = Field(default="127.0.0.1", description="Loopback by default; a public bind needs a token, see below.")
    port: int = Field(default=8765, ge=0, le=65535, description="0 lets the system choose.")
    page: str = Field(default="affect_web", description="Package or folder of the page served at /; empty for none.")
    # Trust
    token: SecretStr | None = Field(default=None, min_length=1, description="Shared secret that `hello` must carry.")
    origins: tuple[str, ...] = Field(default=(), description="Foreign web origins that may connect.")
    tls_certificate: Path | None = Field(default=None, description="PEM chain; with it the service speaks wss.")
    tls_key: Path | None = Field(default=None, description="PEM key of the certificate.")
    behind_proxy: bool = Field(default=False, description="A proxy in front does TLS; allows a public bind without.")
    context: Context = Field(default="self_directed", description="Where it is used, if consent does not say.")
    jurisdiction: str = Field(
        default="",
        pattern=r"^([A-Za-z]{2}|[Ee][Ee][Aa])?$",
        description="ISO 3166 alpha-2 country, EU or EEA; if consent does not say.",
    )
    # Timeouts and intervals
    hello_timeout_s: float = Field(default=10.0, gt=0)
    heartbeat_s: float = Field(default=20.0, gt=0, description="Ping interval; a peer silent for two is closed.")
    status_s: float = Field(default=5.0, gt=0)
    resume_s: float = Field(default=300.0, ge=0, description="A session without sockets is kept this long.")
    max_skew_s: float = Field(default=5.0, gt=0, description="A frame may be this far ahead of the session's clock.")
    # Limits
    max_sessions: int = Field(default=500, ge=1)
    max_connections_per_address: int = Field(default=1000, ge=1)
    max_message_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_fps: float = Field(default=60.0, gt=0, description="Frames a second a session may send.")
    max_messages: float = Field(
        default=20.0, gt=0, description="Text messages a second a socket may send, ten times as many at once."
    )
    outbox: int = Field(default=256, ge=8, description="Messages waiting for a slow consumer before it is closed.")
    ring: int = Field(default=1024, ge=8, description="Events kept a session for resume.")
