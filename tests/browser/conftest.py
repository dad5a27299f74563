"""A real Chromium whose fake webcam shows a moving real face."""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.async_api import Browser, async_playwright, expect

from affect.cli.bench_pipeline import moving_face

ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"
expect.set_options(timeout=60_000)  # its own 5 s are short beside other work on two cores


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; a machine without one skips, CI (AFFECT_REQUIRE_BROWSER) fails."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("AFFECT_REQUIRE_BROWSER"):
            pytest.fail("no Chromium, and AFFECT_REQUIRE_BROWSER is set")
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return path


@pytest.fixture(scope="session")
def webcam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MJPEG of the astronaut's face wandering over a wall: JPEGs one after another."""
    path = tmp_path_factory.mktemp("webcam") / "cam.mjpeg"
    path.write_bytes(b"".join(moving_face(640, 480, 90)))
    return path


@pytest.fixture(scope="session")
def video_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short video of the same face, in a codec Chromium plays."""
    path = tmp_path_factory.mktemp("video") / "face.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 10, (320, 240))
    for jpeg in moving_face(320, 240, 60):
        writer.write(np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)))
    writer.release()
    assert path.stat().st_size > 1000, "OpenCV cannot write VP8"
    return path


@pytest.fixture
async def browser(chromium: str, webcam: Path) -> AsyncIterator[Browser]:
    """Chromium, headless, with the fake webcam allowed."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-video-capture={webcam}",
            ],
        )
        yield browser
        await browser.close()


@pytest.fixture
def artefacts() -> Path:
    """Folder for what CI keeps."""
    ARTEFACTS.mkdir(exist_ok=True)
    return ARTEFACTS
