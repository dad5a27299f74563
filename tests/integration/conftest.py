"""A real service on a real socket in this process, around a fake or the real pipeline."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
