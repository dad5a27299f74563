"""Fixtures that all tests share: the public-domain photograph, faces in frames, a fake pipeline and its service."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import cv2
import numpy as np
import pytest
from support.engine import Engine
from support.wire import Serve

from affect.inference.device import Device
from affect.pipeline import Pipeline, build_engine
from affect.plugins import PluginHost
from affect.service.server import AffectService
from affect.settings import Settings
from affect.testing import FakeBackend, FakeDetector
from affect.types import ByteArray


@pytest.fixture(autouse=True, scope="session")
def _nobodys_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of whoever runs the tests counts, in a file or in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("AFFECT_") and ("__" in name or name.endswith("_PLUGINS")):
                patch.delenv(name)
        empty = tmp_path_factory.mktemp("settings") / "affect.toml"
        empty.touch()
        patch.setenv("AFFECT_CONFIG", str(empty))
        yield


@pytest.fixture(scope="session")
def astronaut() -> ByteArray:
    """The photograph that ships with the package, RGB [340, 340, 3]."""
    data = resources.files("affect.assets").joinpath("astronaut.jpg").read_bytes()
    bgr = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def jpeg_of(image: ByteArray, quality: int = 90) -> bytes:
    """Encode RGB as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@pytest.fixture(scope="session")
def astronaut_jpeg(astronaut: ByteArray) -> bytes:
    """The photograph as JPEG."""
    return jpeg_of(astronaut)


@pytest.fixture(scope="session")
def grey_jpeg() -> bytes:
    """A frame of 128x96, mean grey 200, in which the fake detector sees a face; with enough contrast to be read."""
    image = np.full((96, 128, 3), 240, np.uint8)
    image[:, ::8] = image[:, 1::8] = image[:, 2::8] = image[:, 3::8] = 160
    return jpeg_of(image)


@pytest.fixture(scope="session")
def black_jpeg() -> bytes:
    """A frame in which the fake detector sees nobody."""
    return jpeg_of(np.zeros((48, 64, 3), np.uint8))


@pytest.fixture(scope="session")
def plugin_host() -> PluginHost:
    """The installed plugins."""
    return PluginHost()


@pytest.fixture
def fake_backend() -> FakeBackend:
    """A backend whose answer is the grey level."""
    return FakeBackend()


@pytest.fixture
def fake_engine(fake_backend: FakeBackend) -> Iterator[Engine]:
    """A real engine and pipeline around fakes."""
    settings = Settings()
    pipeline = Pipeline(FakeDetector(), fake_backend, Device("cpu", "float32"), settings.vision)
    engine = build_engine(pipeline, settings)
    yield engine
    engine.close()


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
