import pytest

from affect import errors
from affect.errors import AffectError, BackendError, CheckpointError, ErrorCode, FrameError

DEFAULTS = {
    "AffectError": "internal",
    "SettingsError": "bad_setting",
    "PluginError": "plugin_failed",
    "BackendError": "backend_failed",
    "CheckpointError": "bad_checkpoint",
    "FrameError": "bad_image",
    "ProtocolError": "bad_message",
    "PolicyError": "consent_required",
    "MediaError": "bad_media",
}


@pytest.mark.parametrize(("name", "code"), DEFAULTS.items())
def test_every_error_has_a_code_and_one_root(name: str, code: str) -> None:
    error = getattr(errors, name)("what happened")
    assert isinstance(error, AffectError)
    assert error.code == code
    assert str(error) == error.message == "what happened"


def test_the_table_above_is_complete() -> None:
    defined = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert defined == set(DEFAULTS)


def test_a_code_can_be_given() -> None:
    assert FrameError("x", code=ErrorCode.IMAGE_TOO_LARGE).code is ErrorCode.IMAGE_TOO_LARGE


def test_a_bad_checkpoint_is_a_failure_of_the_backend() -> None:
    with pytest.raises(BackendError):
        raise CheckpointError("x")
