"""The page in a real browser: from the webcam to an event on the screen."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from affect.pipeline import build_engine, build_pipeline
from affect.plugins import PluginHost
from affect.service.server import AffectService
from affect.settings import Settings

pytestmark = pytest.mark.browser
_LONG_MS = 60_000
_DRAWN = """c => c.width > 0 &&
    c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 3 && v > 0)"""


@pytest.fixture
async def service() -> AsyncIterator[AffectService]:
    """The real pipeline on the embedded weights; a quick policy, so that an event comes within seconds."""
    settings = Settings.model_validate(
        {"service": {"port": 0, "status_s": 1.0}, "learner": {"events": {"enter": 0.2, "leave": 0.1}}}
    )
    host = PluginHost(settings.plugins)
    engine = build_engine(build_pipeline(settings, host), settings)
    try:
        async with AffectService(settings, host, engine).running() as service:
            yield service
    finally:
        engine.close()


@pytest.fixture
async def page(browser: Browser, service: AffectService) -> AsyncIterator[Page]:
    """The page, freshly loaded; any script error or console error fails the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"])
    context.set_default_timeout(60_000)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))

    def note(message: ConsoleMessage) -> None:
        # A service that has gone is the browser's to report; what the page makes of it is what is tested.
        if message.type == "error" and not message.text.startswith("WebSocket connection to"):
            problems.append(message.text)

    page.on("console", note)
    foreign: list[str] = []
    page.on(
        "request",
        lambda r: None if "127.0.0.1" in r.url or r.url.startswith(("blob:", "data:")) else foreign.append(r.url),
    )
    await page.goto(service.url)
    yield page
    assert problems == []
    assert foreign == [], "the page asked for an external resource"
    await context.close()


async def test_from_the_webcam_to_an_event_on_screen(page: Page, artefacts: Path) -> None:
    await expect(page.locator("#connection")).to_contain_text("connected", timeout=_LONG_MS)
    # Nothing is captured before the person agrees.
    assert await page.locator("#video").evaluate("v => v.srcObject === null")
    await page.locator("#consent-start").click()
    await expect(page.locator("#events li.event[data-state='presence'][data-phase='present']")).to_have_count(
        1, timeout=_LONG_MS
    )
    happy = page.locator("#emotions [data-emotion='happy']")
    await expect(happy).to_have_attribute("aria-valuenow", re.compile(r"^([3-9]\d|100)$"), timeout=_LONG_MS)
    onset = page.locator("#events li.event[data-phase='onset']").first
    await expect(onset).to_be_visible(timeout=_LONG_MS)
    await expect(page.locator("#fps")).to_have_text(re.compile(r"[1-9]"), timeout=_LONG_MS)
    await expect(page.locator("#latency")).to_have_text(re.compile(r"\d"))
    await expect(page.locator("#backend")).to_have_text("compact")
    # The overlay really has something drawn: a box and landmarks.
    assert await page.locator("#overlay").evaluate(_DRAWN)
    await expect(page.locator("#chart")).to_have_attribute("aria-label", re.compile("percent"))
    await page.screenshot(path=artefacts / "page-light.png", full_page=True)
    await page.emulate_media(color_scheme="dark")
    await page.screenshot(path=artefacts / "page-dark.png", full_page=True)


async def test_withdrawing_consent_stops_the_camera_and_clears_the_picture(page: Page, service: AffectService) -> None:
    overlay, known = page.locator("#overlay"), page.locator("#emotions [role=meter]:not([aria-valuetext='not known'])")
    await page.locator("#consent-start").click()
    await expect(page.locator("#events li.event[data-state='presence']").first).to_be_visible(timeout=_LONG_MS)
    async with asyncio.timeout(60):
        while not await overlay.evaluate(_DRAWN):
            await asyncio.sleep(0.05)
    await page.locator("#withdraw").click()
    await expect(page.locator("#consent-start")).to_be_visible()
    await expect(page.locator("#running")).to_be_hidden()
    assert await page.locator("#video").evaluate("v => v.srcObject === null")
    async with asyncio.timeout(60):
        while any(session.consent for session in service.sessions.values()):
            await asyncio.sleep(0.05)
    # Nor has an answer that was on its way brought anything back.
    assert not await overlay.evaluate(_DRAWN)
    assert await known.count() == 0


async def test_works_with_the_keyboard_alone(page: Page) -> None:
    await expect(page.locator("#connection")).to_contain_text("connected", timeout=_LONG_MS)
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement?.id") == "consent-start":
            break
    else:
        pytest.fail("the consent button cannot be reached with Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#events li.event[data-state='presence']").first).to_be_visible(timeout=_LONG_MS)


async def test_a_recorded_file_works_too(page: Page, video_file: Path) -> None:
    await expect(page.locator("#connection")).to_contain_text("connected", timeout=_LONG_MS)
    await page.locator("#file-input").set_input_files(video_file)
    await expect(page.locator("#events li.event[data-state='presence']").first).to_be_visible(timeout=_LONG_MS)
    happy = page.locator("#emotions [data-emotion='happy']")
    await expect(happy).to_have_attribute("aria-valuenow", re.compile(r"^([2-9]\d|100)$"), timeout=_LONG_MS)


async def test_the_page_says_when_the_service_is_gone(page: Page, service: AffectService) -> None:
    await expect(page.locator("#connection")).to_contain_text("connected", timeout=_LONG_MS)
    await service.stop()
    await expect(page.locator("#connection")).not_to_have_text(
        re.compile("^connected", re.IGNORECASE), timeout=_LONG_MS
    )


async def test_every_control_has_a_name(page: Page) -> None:
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, canvas, [role=meter]')]
            .filter(e => e.getAttribute('aria-hidden') !== 'true')
            .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
                || e.textContent.trim() || (e.labels && e.labels.length)))
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    assert await page.locator("html").get_attribute("lang") == "en"
    assert await page.locator("[aria-live]").count() >= 1
