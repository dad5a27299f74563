"""Who may connect: loopback by default, a token, an allow-list of origins; and when a public bind is refused."""

import hmac
import ipaddress
from urllib.parse import urlsplit

from affect.errors import SettingsError
from affect.settings.service import ServiceSettings


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(settings: ServiceSettings) -> None:
    """Refuse to listen publicly without a token and TLS.

    Raises:
        SettingsError: What is missing, and how to set it.
    """
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise SettingsError("service.tls_certificate and service.tls_key go together")
    for path in (settings.tls_certificate, settings.tls_key):
        if path is not None and not path.is_file():
            raise SettingsError(f"service.tls_certificate / service.tls_key: no file {path}")
    if is_loopback(settings.host):
        return
    if settings.token is None:
        raise SettingsError(f"service.host {settings.host!r} is public: set service.token, or bind to 127.0.0.1")
    if settings.tls_certificate is None and not settings.behind_proxy:
        raise SettingsError(
            f"service.host {settings.host!r} is public: set service.tls_certificate and service.tls_key, or "
            "service.behind_proxy when a proxy in front does TLS"
        )


def token_accepted(settings: ServiceSettings, offered: str | None) -> bool:
    """Compare a token in constant time; everything is accepted when the service has none."""
    if settings.token is None:
        return True
    return hmac.compare_digest(settings.token.get_secret_value().encode(), (offered or "").encode())


def origin_accepted(settings: ServiceSettings, origin: str | None, host_header: str | None) -> bool:
    """Whether a web page of this origin may connect: our own page, or one on the allow-list.

    Programs send no origin and are accepted. A service on loopback answers only to loopback names, so that a foreign
    name which resolves to 127.0.0.1 does not make a foreign page "our own".
    """
    try:
        host, page = urlsplit(f"//{host_header or ''}"), urlsplit(origin or "")
    except ValueError:  # a bracket too many
        return False
    if is_loopback(settings.host) and not settings.behind_proxy and not is_loopback(host.hostname or ""):
        return False
    if origin is None or origin in settings.origins:
        return True
    return page.netloc.lower() == host.netloc.lower()
