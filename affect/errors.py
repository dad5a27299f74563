"""One tree of exceptions, each with a stable code that also travels on the wire.

AffectError
+-- SettingsError           a setting is unknown or out of range
+-- PluginError             a plugin could not be loaded, is unknown, or is registered twice
+-- BackendError            a backend failed to load or to predict
|   +-- CheckpointError     weights and sidecar are missing, corrupt or do not belong together
+-- FrameError              one frame cannot be used; the session goes on
+-- ProtocolError           a client broke the wire protocol
+-- PolicyError             consent is missing or the declared use is not allowed
+-- MediaError              data cannot be used: a picture, a video, a label file, too few faces
"""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class ErrorCode(StrEnum):
    """Stable codes of everything that can go wrong; the wire, the log and the tests use these words."""

    INTERNAL = "internal"
    BAD_SETTING = "bad_setting"
    # Plugins and backends
    PLUGIN_FAILED = "plugin_failed"
    UNKNOWN_NAME = "unknown_name"
    DUPLICATE_NAME = "duplicate_name"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    BACKEND_FAILED = "backend_failed"
    BACKEND_BAD_OUTPUT = "backend_bad_output"
    BAD_CHECKPOINT = "bad_checkpoint"
    # Frames
    BAD_IMAGE = "bad_image"
    UNSUPPORTED_MEDIA = "unsupported_media"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SMALL = "image_too_small"
    FRAME_OUT_OF_ORDER = "frame_out_of_order"
    FRAME_FROM_FUTURE = "frame_from_future"
    RATE_LIMITED = "rate_limited"
    DETECTOR_FAILED = "detector_failed"
    # Protocol
    BAD_MESSAGE = "bad_message"
    UNKNOWN_TYPE = "unknown_type"
    BAD_HELLO = "bad_hello"
    HELLO_TIMEOUT = "hello_timeout"
    VERSION = "version"
    NOT_ALLOWED = "not_allowed"
    UNAUTHORIZED = "unauthorized"
    NO_SESSION = "no_session"
    TOO_MANY_SESSIONS = "too_many_sessions"
    SLOW_CONSUMER = "slow_consumer"
    REPLACED = "replaced"
    # Trust
    CONSENT_REQUIRED = "consent_required"
    POLICY_REFUSED = "policy_refused"
    # Files
    BAD_MEDIA = "bad_media"


class AffectError(Exception):
    """Base of all errors of this project.

    Args:
        message: What was expected, what came, what to do.
        code: The stable code; each subclass has a default.
    """

    default_code = ErrorCode.INTERNAL

    def __init__(self, message: str, *, code: ErrorCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code


class SettingsError(AffectError):
    """A setting is unknown or out of range."""

    default_code = ErrorCode.BAD_SETTING


class PluginError(AffectError):
    """A plugin could not be loaded, is unknown, or is registered twice."""

    default_code = ErrorCode.PLUGIN_FAILED


class BackendError(AffectError):
    """A backend failed to load or to predict."""

    default_code = ErrorCode.BACKEND_FAILED


class CheckpointError(BackendError):
    """Weights and sidecar are missing, corrupt or do not belong together."""

    default_code = ErrorCode.BAD_CHECKPOINT


class FrameError(AffectError):
    """One frame cannot be used; the session goes on."""

    default_code = ErrorCode.BAD_IMAGE


class ProtocolError(AffectError):
    """A client broke the wire protocol."""

    default_code = ErrorCode.BAD_MESSAGE


class PolicyError(AffectError):
    """Consent is missing or the declared use is not allowed."""

    default_code = ErrorCode.CONSENT_REQUIRED


class MediaError(AffectError):
    """Data cannot be used: a picture, a video, a label file or log, or too few faces for what was asked."""

    default_code = ErrorCode.BAD_MEDIA


def first_problem(exc: "ValidationError", whole: str) -> str:
    """Return the first of what pydantic found wrong as `where: what`; `whole` is where it names no place."""
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    return f"{where}: {first['msg']}"
