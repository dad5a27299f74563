import pytest
from pydantic import ValidationError

from affect.settings import ServiceSettings


def test_the_service_listens_on_loopback_unless_told_otherwise() -> None:
    assert ServiceSettings().host == "127.0.0.1"
    assert ServiceSettings().token is None
    assert ServiceSettings().origins == ()


def test_the_token_does_not_show() -> None:
    settings = ServiceSettings.model_validate({"token": "hunter2"})
    assert settings.token is not None
    assert settings.token.get_secret_value() == "hunter2"
    for text in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    "table",
    [{"port": -1}, {"port": 65536}, {"context": "school"}, {"hello_timeout_s": 0}, {"max_fps": 0}, {"token": ""}],
)
def test_values_out_of_range_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(table))):
        ServiceSettings.model_validate(table)
