"""The browser client when the service is not there: what the learner said last holds, and nothing else comes back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from playwright.async_api import Browser, Page, WebSocket
from support.wire import Serve

from affect.service.server import AffectService

pytestmark = pytest.mark.browser
_LONG_S = 60
_START = """async (options) => {
    const { AffectClient } = await import(location.href);
    window.states = [];
    window.client = new AffectClient({ url: `ws://${location.host}/ws`, ...options });
    client.addEventListener("state", ({ detail }) => states.push(detail));
    client.connect();
}"""
# The service closes a socket that sends more than it takes; the session stays, as when a network fails.
_CUT = "client.sendFrame(new ArrayBuffer(10_000), 0)"
_SHORT = {"service": {"max_message_bytes": 4096}}


class Script:
    """A page that runs nothing but the client, and what the client said on each of its sockets."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[list[dict[str, Any]]] = []
        page.on("websocket", self._listen)

    def _listen(self, socket: WebSocket) -> None:
        sent: list[dict[str, Any]] = []
        self.sockets.append(sent)
        socket.on("framesent", lambda data: sent.append(json.loads(data)) if isinstance(data, str) else None)

    async def start(self, service: AffectService, **options: Any) -> None:
        """Load the client from the service and connect it to session s-1."""
        await self.page.goto(f"{service.url}affect-client.js")
        await self.page.evaluate(_START, {"session": "s-1", **options})
        await self.until("client.state === 'open'")

    async def do(self, expression: str) -> Any:
        return await self.page.evaluate(expression)

    async def until(self, expression: str) -> None:
        async with asyncio.timeout(_LONG_S):
            while not await self.page.evaluate(expression):
                await asyncio.sleep(0.05)

    async def when(self, state: str, expression: str) -> None:
        """Do something at once when the client says for the first time that it is in a state."""
        await self.page.evaluate(
            f"client.addEventListener('state', function once({{ detail }}) {{ if (detail.state !== '{state}') return;"
            f"client.removeEventListener('state', once); {expression} }})"
        )

    def said(self, type_: str) -> list[dict[str, Any]]:
        """Messages of a type, over all sockets."""
        return [message for sent in self.sockets for message in sent if message["type"] == type_]


@pytest.fixture
async def script(browser: Browser) -> AsyncIterator[Script]:
    context = await browser.new_context()
    context.set_default_timeout(60_000)
    yield Script(await context.new_page())
    await context.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LONG_S):
        while not holds():
            await asyncio.sleep(0.02)


async def granted(service: AffectService, script: Script) -> None:
    """Grant consent and wait until the service has it."""
    await script.do("client.sendConsent(true, { context: 'research' })")
    await until(lambda: service.sessions["s-1"].consent)


async def test_a_grant_is_repeated_to_a_service_that_was_started_anew(
    script: Script, serve: Serve, unused_tcp_port: int
) -> None:
    there = {"service": {"port": unused_tcp_port}}
    async with serve(there) as service:
        await script.start(service)
        await granted(service, script)
    async with serve(there) as service:
        await until(lambda: "s-1" in service.sessions and service.sessions["s-1"].consent)
    await until(lambda: script.said("consent") == [{"type": "consent", "granted": True, "context": "research"}] * 2)


async def test_a_grant_withdrawn_while_disconnected_is_not_repeated(
    script: Script, serve: Serve, unused_tcp_port: int
) -> None:
    there = {"service": {"port": unused_tcp_port}}
    async with serve(there) as service:
        await script.start(service)
        await granted(service, script)
    await script.until("client.state !== 'open'")
    await script.do("client.sendConsent(false)")
    async with serve(there) as service:
        await script.until("client.state === 'open'")
        await script.do("client.sendCorrect('boredom')")
        await script.until("client.lastSeq > 0")  # all that it said before was heard
        assert not service.sessions["s-1"].consent
    assert len(script.said("consent")) == 1


async def test_a_withdrawal_while_disconnected_reaches_a_service_that_has_the_grant(
    script: Script, serve: Serve
) -> None:
    async with serve(_SHORT) as service:
        await script.start(service)
        await granted(service, script)
        await script.when("reconnecting", "client.sendConsent(false)")
        await script.do(_CUT)
        await until(lambda: not service.sessions["s-1"].consent)
    await until(lambda: [message["granted"] for message in script.said("consent")] == [True, False])


async def test_a_tutor_whose_session_is_gone_forgets_its_number(
    script: Script, serve: Serve, unused_tcp_port: int
) -> None:
    there = {"service": {"port": unused_tcp_port}}
    async with serve(there) as service:
        await script.start(service, roles=["tutor"])
        await script.do("client.sendCorrect('boredom')")
        await script.until("client.lastSeq > 0")
    async with serve(there):
        await until(lambda: len(script.said("hello")) >= 3)
        await script.until("client.state === 'open'")
        assert await script.do("client.lastSeq") == 0
    first, again, anew = script.said("hello")[:3]
    assert "resume" not in first
    assert again["resume"]["after"] > 0
    assert "resume" not in anew
    assert 4404 in await script.do("states.map(({ code }) => code)")


async def test_a_bye_while_reconnecting_stops_that_and_the_session_ends_by_itself(script: Script, serve: Serve) -> None:
    await script.page.clock.install()
    async with serve({"service": {**_SHORT["service"], "resume_s": 0}}) as service:
        await script.start(service)
        await granted(service, script)
        session = service.sessions["s-1"]
        await script.when("reconnecting", "client.bye()")
        await script.do(_CUT)
        await script.until("states.at(-1).code === 1000")
        await script.page.clock.fast_forward(60_000)  # a retry would be due by now
        assert await script.do("client.state") == "closed"
        await until(lambda: session.ended)
    assert len(script.sockets) == 1


async def test_a_bye_before_the_welcome_ends_the_session(script: Script, serve: Serve) -> None:
    async with serve(_SHORT) as service:
        await script.start(service)
        await granted(service, script)
        session = service.sessions["s-1"]
        await script.do(
            """() => {
                window.WebSocket = class extends WebSocket {
                    send(data) {
                        super.send(data);
                        if (JSON.parse(data).type === "hello") client.bye();
                    }
                };
            }"""
        )
        await script.do(_CUT)
        await until(lambda: session.ended)
        assert not session.consent
    await until(lambda: [[message["type"] for message in sent] for sent in script.sockets[1:]] == [["hello", "bye"]])


@pytest.mark.parametrize("before", ["", "client.sendConsent(false);"])
async def test_who_connects_again_after_a_bye_that_nobody_heard_has_no_grant(
    script: Script, serve: Serve, before: str
) -> None:
    async with serve(_SHORT) as service:
        await script.start(service)
        await granted(service, script)
        await script.when("reconnecting", f"{before} client.bye(); client.connect();")
        await script.do(_CUT)
        await until(lambda: not service.sessions["s-1"].consent)
        assert not service.sessions["s-1"].ended


async def test_frames_wait_for_the_answers_to_those_before(script: Script, serve: Serve, grey_jpeg: bytes) -> None:
    await script.page.clock.install(time=0)
    async with serve({"service": {"heartbeat_s": 3600}}) as service:
        await script.start(service, observations=True)
        await granted(service, script)
        await script.page.clock.pause_at(1000)  # waiting alone makes no room
        await script.do(f"window.image = new Uint8Array({list(grey_jpeg)}).buffer")
        # In one breath, so that no answer comes in between.
        assert await script.do("[1, 2, 3, 4].map((t) => client.sendFrame(image, t / 10))") == [True, True, False, False]
        assert await script.do("client.droppedFrames") == 2
        await script.until("client.sendFrame(image, 1)")
        await until(lambda: service.sessions["s-1"].received == 3)


async def test_frames_wait_for_the_network(script: Script, serve: Serve, grey_jpeg: bytes) -> None:
    async with serve() as service:
        await script.start(service, maxBufferedBytes=len(grey_jpeg))
        await granted(service, script)
        await script.do(f"window.image = new Uint8Array({list(grey_jpeg)}).buffer")
        assert await script.do("[1, 2, 3, 4].map((t) => client.sendFrame(image, t / 10))") == [
            True,
            False,
            False,
            False,
        ]
        assert await script.do("client.droppedFrames") == 3
        await until(lambda: service.sessions["s-1"].received == 1)
