"""What the service answers over plain HTTP on the same port: the page, `/healthz`, `/readyz`."""

import json
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

WEBSOCKET_PATH = "/ws"
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
            if not origin_accepted(self._settings, request.headers.get("Origin"), host):
                return _json(HTTPStatus.FORBIDDEN, {"error": "this origin may not connect (service.origins)"})
            return None
        if path in self._files and origin_accepted(self._settings, None, host):
            return _response(HTTPStatus.OK, *self._files[path])
        return _json(HTTPStatus.NOT_FOUND, {"error": f"nothing at {path}; the websocket is at {WEBSOCKET_PATH}"})


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
