"""`affect serve`: builds the pipeline, starts the service, and stops it cleanly on Ctrl-C or SIGTERM.

When the GPU breaks it stops as well, with an error: only a new process can use it again, and whoever supervises this
one starts it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import webbrowser

import click

from affect.errors import AffectError, BackendError, ErrorCode
from affect.pipeline import build_engine, build_pipeline
from affect.plugins import PluginHost
from affect.service.auth import check_bind
from affect.service.server import AffectService
from affect.settings import Settings

_LOOK_S = 1.0  # between looks whether the engine still works


def run(settings: Settings, *, open_page: bool) -> None:
    """Serve until a signal comes.

    Raises:
        AffectError: A setting is wrong, the backend could not be created, or the device broke while it served.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    check_bind(settings.service)
    host = PluginHost(settings.plugins)
    for plugin in host.plugins:
        if plugin.status == "failed":
            click.echo(f"plugin {plugin.name} of {plugin.distribution} failed: {plugin.reason}", err=True)
    for stray in host.strays():
        click.echo(stray, err=True)
    pipeline = build_pipeline(settings, host)
    engine = build_engine(pipeline, settings)
    try:
        service = AffectService(settings, host, engine)
        click.echo(
            f"backend {settings.inference.backend}, detector {settings.vision.detector}, {pipeline.device.description}"
        )
        asyncio.run(_serve(service, open_page=open_page))
    except OSError as exc:
        address = f"{settings.service.host}:{settings.service.port}"
        raise AffectError(f"cannot listen on {address}: {exc.strerror or exc}", code=ErrorCode.BAD_SETTING) from exc
    finally:
        engine.close()


async def _serve(service: AffectService, *, open_page: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with service.running():
        click.echo(f"page {service.url}  websocket {service.url.replace('http', 'ws', 1)}ws  (Ctrl-C stops)")
        sys.stdout.flush()
        if open_page and _has_desktop():
            webbrowser.open(service.url)
        while not (stop.is_set() or service.unavailable):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_S)
    if not stop.is_set():
        raise BackendError(service.unavailable, code=ErrorCode.BACKEND_UNAVAILABLE)
    click.echo("stopped")


def _has_desktop() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
