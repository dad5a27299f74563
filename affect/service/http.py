"""What the service answers over plain HTTP on the same port: the page, `/healthz`, `/readyz`."""

import json
import logging
import mimetypes
from collections.abc import Callable
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from affect.errors import SettingsError
from affect.service.auth import origin_accepted
from affect.settings.service import ServiceSettings

log = logging.getLogger(__name__)

WEBSOCKET_PATH = "/ws"
_TOLD = 100
"""Refused pairs of origin and host that are logged, each once: the log is not a stranger's to fill."""
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self' ws: wss:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def page_folder(page: str) -> Path | None:
    """Find the page's files: a folder, or the folder of a package; None when the setting is empty.

    Raises:
        SettingsError: Neither is there.
    """
    if not page:
        return None
    if Path(page).is_dir():
        return Path(page)
    spec = find_spec(page) if page.isidentifier() else None
    if spec is None or spec.origin is None:
        raise SettingsError(f"service.page {page!r} is neither a folder nor an installed package")
    return Path(spec.origin).parent


class HttpDoor:
    """Answers requests that are not websocket upgrades, and turns away upgrades of foreign origins.

    Args:
        settings: Page, origins.
        health: What `/readyz` reports; its `ready` decides 200 or 503.
    """

    def __init__(self, settings: ServiceSettings, health: Callable[[], dict[str, object]]) -> None:
        self._settings, self._health = settings, health
        self._refused: set[tuple[str | None, str | None]] = set()
        folder = page_folder(settings.page)
        # The files are read once: what is not among them does not exist.
        self._files: dict[str, tuple[str, bytes]] = {}
        if folder is not None:
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.suffix in (*_TYPES, ".png", ".ico"):
                    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                    self._files[f"/{path.name}"] = (kind, path.read_bytes())
            if "/index.html" in self._files:
                self._files["/"] = self._files["/index.html"]

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return a response, or None to go on with the websocket handshake."""
        path = request.path.partition("?")[0]
        if path == "/healthz":
            return _json(HTTPStatus.OK, {"alive": True})
        if path == "/readyz":
            report = self._health()
            return _json(HTTPStatus.OK if report["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, report)
        host = request.headers.get("Host")
        if path == WEBSOCKET_PATH:
            origin = request.headers.get("Origin")
            return None if origin_accepted(self._settings, origin, host) else self._refuse(origin, host)
        if path in self._files:
            accepted = origin_accepted(self._settings, None, host)
            return _response(HTTPStatus.OK, *self._files[path]) if accepted else self._refuse(None, host)
        return _json(HTTPStatus.NOT_FOUND, {"error": f"nothing at {path}; the websocket is at {WEBSOCKET_PATH}"})

    def _refuse(self, origin: str | None, host: str | None) -> Response:
        if (origin, host) not in self._refused and len(self._refused) < _TOLD:
            self._refused.add((origin, host))
            log.warning("refused: Origin %.100r, Host %.100r (service.origins, service.behind_proxy)", origin, host)
        why = "this origin or host may not connect (service.origins, service.behind_proxy)"
        return _json(HTTPStatus.FORBIDDEN, {"error": why})


def _json(status: HTTPStatus, body: object) -> Response:
    return _response(status, "application/json", json.dumps(body).encode())


def _response(status: HTTPStatus, kind: str, body: bytes) -> Response:
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    headers = Headers(
        {
            "Content-Type": kind + charset,
            "Content-Length": str(len(body)),
            "Cache-Control": "no-cache",
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, body)
