"""Real processes: `affect serve` on the embedded weights, the Python client, a real face, a kill in the middle."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from affect_client import AffectClient
from support.limits import LIMIT_S

from affect.cli.bench_pipeline import moving_face
from affect.service.protocol import Event, ObservationMessage, Status, Welcome

AFFECT = [sys.executable, "-m", "affect"]


@contextmanager
def service(port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run `affect serve` until the block ends; waits until it is ready."""
    command = [*AFFECT, *options, "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + LIMIT_S
        while time.monotonic() < until:
            if process.poll() is not None:
                pytest.fail(f"affect serve ended: {process.stdout.read() if process.stdout else ''}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
                    break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        else:
            pytest.fail(f"affect serve was not ready in {LIMIT_S:.0f} s")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(LIMIT_S)
                raise
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def port(unused_tcp_port: int) -> int:
    return unused_tcp_port


async def test_a_real_face_becomes_events_through_a_real_process(port: int) -> None:
    frames = moving_face(320, 240, 30)
    # The frames begin anew after the last one: the face jumps, and on a slow machine for longer than 1.5 s.
    with service(port, "--set", "vision.lost_s=60") as process:
        async with AffectClient(f"ws://127.0.0.1:{port}/ws", session="s-anna", observations=True) as client:
            await client.consent()
            started = time.monotonic()
            observations: list[ObservationMessage] = []
            kinds: set[str] = set()

            async def read() -> None:
                async for message in client:
                    if isinstance(message, ObservationMessage):
                        observations.append(message)
                    elif isinstance(message, Event):
                        kinds.add(message.event.data.state)

            reader = asyncio.create_task(read())
            async with asyncio.timeout(LIMIT_S):
                for frame in itertools.cycle(frames):
                    await client.send_frame(frame, time.monotonic() - started)
                    await asyncio.sleep(0.1)
                    if len(observations) >= 10:
                        break
            await client.bye()
            await asyncio.wait_for(reader, LIMIT_S)
        with_face = [o for o in observations if o.followed is not None]
        assert len(with_face) >= len(observations) - 1
        faces = [next(f for f in o.faces if f.track_id == o.followed) for o in with_face]
        assert {f.track_id for f in faces} == {1}
        emotions = faces[-1].emotions
        assert emotions is not None
        assert max(emotions, key=lambda name: emotions[name]) == "happy"  # she smiles
        assert "presence" in kinds
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, LIMIT_S) == 0
        assert process.stdout is not None
        told = process.stdout.read()
        assert "INFO affect.service.server: client 'affect-client/" in told
        assert "s-anna" not in told


@pytest.mark.parametrize(("how", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)])
async def test_the_end_in_the_middle_and_reconnect(port: int, how: signal.Signals, status: int) -> None:
    """The service dies or is stopped; the client reconnects to the next one, consents again, and goes on."""
    frames = moving_face(320, 240, 10)
    client = AffectClient(f"ws://127.0.0.1:{port}/ws", session="s-kill", observations=True)
    started = time.monotonic()
    welcomes: list[Welcome] = []
    observed: list[int] = []

    async def read() -> None:
        async for message in client:
            if isinstance(message, Welcome):
                welcomes.append(message)
            elif isinstance(message, ObservationMessage):
                observed.append(message.seq)

    async def feed_until(count: int) -> None:
        """Send frames until there are so many observations."""
        for k in range(int(LIMIT_S * 10)):
            if len(observed) >= count:
                return
            await client.send_frame(frames[k % len(frames)], time.monotonic() - started)
            await asyncio.sleep(0.1)
        pytest.fail(f"{len(observed)} observations, expected {count}")

    with service(port) as process:
        await client.__aenter__()
        await client.consent()
        reader = asyncio.create_task(read())
        await feed_until(3)
        process.send_signal(how)
        assert await asyncio.to_thread(process.wait, LIMIT_S) == status
    before = len(observed)
    with service(port):
        await feed_until(before + 3)
        assert len(welcomes) == 2
        assert welcomes[1].session == "s-kill"
        assert welcomes[1].resumed is False  # the ring was in memory and died with the process
        await client.bye()
        await asyncio.wait_for(reader, LIMIT_S)
    await client.__aexit__(None, None, None)


async def test_status_tells_no_face_from_dead_service(port: int) -> None:
    with service(port, "--set", "service.status_s=0.5"):
        async with AffectClient(f"ws://127.0.0.1:{port}/ws") as client:
            async with asyncio.timeout(LIMIT_S):
                async for message in client:
                    if isinstance(message, Status):
                        assert (message.presence, message.consent, message.received) == ("unknown", False, 0)
                        break


def test_serve_prints_its_addresses_and_ends_well_on_sigint(port: int) -> None:
    with service(port) as process:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert f"page http://127.0.0.1:{port}/  websocket ws://127.0.0.1:{port}/ws  (Ctrl-C stops)" in said.splitlines()
    assert re.search(r"^backend compact, detector mtcnn, ", said, re.MULTILINE)
    assert said.splitlines()[-1] == "stopped"


def refusal(*arguments: str) -> str:
    """Run `affect …`, which must fail, and return what it says on stderr."""
    result = subprocess.run([*AFFECT, *arguments], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert result.returncode == 1
    return result.stderr


def test_a_wrong_table_of_the_estimator_stops_serve_with_one_line() -> None:
    (line,) = refusal("--set", "plugins.hmm.tau_c_s=-1", "serve", "--port", "0").splitlines()
    assert line.startswith("affect: plugins.")
    assert line.endswith("[bad_setting]")


def test_serve_refuses_a_public_bind_without_protection() -> None:
    assert "service.token" in refusal("serve", "--host", "0.0.0.0", "--port", "0")


def test_serve_with_an_unknown_backend_says_what_was_meant() -> None:
    result = subprocess.run(
        [*AFFECT, "serve", "--backend", "cnm"], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert result.returncode == 1
    assert "did you mean 'cnn'" in result.stderr


def test_a_taken_port_is_a_clear_error(port: int) -> None:
    with service(port):
        result = subprocess.run(
            [*AFFECT, "serve", "--port", str(port)], capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    assert result.returncode == 1
    assert "cannot listen" in result.stderr


def test_settings_file_is_read_from_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[vision]\nredetect_s = -1\n")
    result = subprocess.run(
        [*AFFECT, "doctor"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "AFFECT_CONFIG": str(config)},
    )
    assert result.returncode == 1
    assert f"vision.redetect_s (from {config})" in result.stderr
