"""A real service on a real socket in this process, around a fake or the real pipeline."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.engine import Engine
from support.wire import Serve

from affect.plugins import PluginHost
from affect.service.server import AffectService
from affect.settings import Settings


@pytest.fixture
def serve(fake_engine: Engine) -> Serve:
    """Start a service: `async with serve(settings, engine) as service`."""

    @asynccontextmanager
    async def start(
        settings: dict[str, Any] | None = None, engine: Any = fake_engine, reason: str = ""
    ) -> AsyncIterator[AffectService]:
        merged = Settings.model_validate(
            {**(settings or {}), "service": {"port": 0, **(settings or {}).get("service", {})}}
        )
        service = AffectService(merged, PluginHost(merged.plugins), engine, reason)
        async with service.running():
            yield service

    return start


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("tls")
    names = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-out", names[0], "-keyout", names[1]],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return names
