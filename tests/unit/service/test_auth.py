"""Who may connect, and when a public bind is refused."""

from pathlib import Path
from typing import Any

import pytest

from affect.errors import SettingsError
from affect.service.auth import check_bind, is_loopback, origin_accepted, token_accepted
from affect.settings.service import ServiceSettings


def settings(**table: Any) -> ServiceSettings:
    return ServiceSettings.model_validate(table)


@pytest.mark.parametrize(
    ("table", "origin", "host", "accepted"),
    [
        ({}, None, "127.0.0.1:8765", True),  # a program
        ({}, "http://127.0.0.1:8765", "127.0.0.1:8765", True),  # our own page
        ({}, "http://localhost:8765", "LOCALHOST:8765", True),
        ({}, "http://elsewhere.test", "127.0.0.1:8765", False),
        ({}, "http://127.0.0.1:9999", "127.0.0.1:8765", False),
        # A foreign name that resolves to this machine does not make a foreign page ours.
        ({}, "http://evil.test:8765", "evil.test:8765", False),
        ({}, None, "evil.test:8765", False),
        ({}, None, None, False),
        ({"behind_proxy": True}, "https://tutor.test", "tutor.test", True),
        ({"origins": ["https://lms.test"]}, "https://lms.test", "127.0.0.1:8765", True),
        ({"origins": ["https://lms.test"]}, "https://lms.test.evil", "127.0.0.1:8765", False),
        ({"origins": ["https://lms.test"]}, "https://lms.test", "evil.test", False),
        ({"host": "0.0.0.0"}, "https://tutor.test", "tutor.test", True),
        ({}, "http://[::1", "127.0.0.1:8765", False),
    ],
)
def test_origins(table: dict[str, Any], origin: str | None, host: str | None, accepted: bool) -> None:
    assert origin_accepted(settings(**table), origin, host) is accepted


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.9.1", "x.localhost"])
def test_loopback_needs_nothing(host: str) -> None:
    assert is_loopback(host)
    check_bind(settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "tutor.example"])
def test_a_public_bind_needs_a_token_and_tls(host: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    tls = {"tls_certificate": str(certificate), "tls_key": str(key)}
    with pytest.raises(SettingsError, match=r"set service\.token"):
        check_bind(settings(host=host, behind_proxy=True))
    with pytest.raises(SettingsError, match=r"service\.tls_certificate and service\.tls_key, or"):
        check_bind(settings(host=host, token="secret"))
    with pytest.raises(SettingsError, match="no file"):
        check_bind(settings(host=host, token="secret", **tls))
    check_bind(settings(host=host, token="secret", behind_proxy=True))
    certificate.touch()
    key.touch()
    check_bind(settings(host=host, token="secret", **tls))
    with pytest.raises(SettingsError, match="go together"):
        check_bind(settings(host=host, token="secret", tls_key=str(key)))


def test_tokens() -> None:
    assert token_accepted(settings(), None)
    secret = settings(token="secret")
    assert token_accepted(secret, "secret")
    assert not any(token_accepted(secret, offered) for offered in (None, "", "Secret", "secret ", "sécret"))
