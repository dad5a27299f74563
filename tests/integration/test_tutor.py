"""The reference tutor beside a real service: the same answers, other words when the learner is frustrated or bored."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from affect_autotutor import AffectPolicy, Dialogue, MoveKind, Tactic, TutorHost, load_lesson
from affect_client import AffectClient
from support.limits import LIMIT_S
from support.wire import Peer, Serve, peer

from affect.labels import LearnerState
from affect.service.server import AffectService


async def feels(learner: Peer, state: str, host: TutorHost) -> None:
    """Let the learner say what they feel, and wait until the tutor has heard."""
    await learner.send("correct", state=state)
    async with asyncio.timeout(60):
        while LearnerState(state) not in host.policy.open_states:
            await asyncio.sleep(0.01)


async def lesson(service: AffectService, feeling: str | None) -> tuple[list[str], TutorHost]:
    """Hold a short lesson in which the learner says what they feel, and knows nothing; return what the tutor said."""
    url = f"ws://127.0.0.1:{service.port}/ws"
    async with peer(service) as learner:
        await learner.hello(roles=["learner"], session="s-tutor")
        async with (
            AffectClient(url, roles=("tutor",), session="s-tutor") as client,
            TutorHost(Dialogue(load_lesson()), AffectPolicy(), client) as host,
        ):
            said = [move.text for move in host.start()]
            if feeling is not None:
                await feels(learner, feeling, host)
            for _ in range(3):
                said += [f"{move.kind}: {move.text}" for move in await host.say("I do not know")]
            return said, host


async def test_the_tutor_really_does_something_else(serve: Serve) -> None:
    found = {}
    for feeling in (None, "frustration", "boredom", "engagement"):
        async with serve() as service:
            said, host = await lesson(service, feeling)
            found[feeling] = said
            assert host.tactics[0] == {"frustration": Tactic.SMALLER_STEP, "boredom": Tactic.ANOTHER}.get(feeling or "")
            assert host.tactics[1:] == [None, None]  # at most one such move in four turns
    assert found["engagement"] == found[None]
    assert found["frustration"] != found[None]
    assert found["frustration"][2].startswith("affect: This part is awkward")
    assert found["frustration"][3].startswith("prompt: ")
    assert found["boredom"][3].startswith("hint: Think of a train")
    assert found[None][2].startswith("pump: ")


async def test_the_service_hears_what_the_tutor_knows(serve: Serve) -> None:
    async with serve() as service:
        url = f"ws://127.0.0.1:{service.port}/ws"
        async with (
            AffectClient(url, roles=("tutor",), session="s-told") as client,
            TutorHost(Dialogue(load_lesson()), AffectPolicy(), client, fast_s=1000) as host,
        ):
            host.start()
            model = service.sessions["s-told"].learner.model
            heard: list[str] = []
            ask = model.host

            def noted(t: float, kind: str) -> object:
                heard.append(kind)
                return ask(t, kind)

            model.host = noted  # type: ignore[method-assign, assignment]
            await host.say("bananas")  # nothing that could be judged
            await host.say("The pumpkin lands behind because the runner moves on ahead")
            await host.say("?")
            await host.say("The pumpkin has the same horizontal speed as the runner when it is released.")
            async with asyncio.timeout(60):
                while len(heard) < 4:
                    await asyncio.sleep(0.01)
    assert heard == ["answer_wrong", "fast_guess", "hint_request", "answer_correct"]


async def test_without_a_service_it_teaches_all_the_same() -> None:
    async with TutorHost(Dialogue(load_lesson()), AffectPolicy()) as host:
        host.start()
        kinds = {move.kind for _ in range(60) if host.dialogue.question for move in await host.say("no idea")}
    assert host.dialogue.question is None
    assert kinds >= {
        MoveKind.PUMP,
        MoveKind.HINT,
        MoveKind.PROMPT,
        MoveKind.ASSERTION,
        MoveKind.SUMMARY,
        MoveKind.CLOSE,
    }
    assert set(host.tactics) == {None}


async def test_a_session_that_ends_does_not_end_the_lesson(serve: Serve) -> None:
    """The learner closed the camera's page, which says bye."""
    async with serve() as service:
        url = f"ws://127.0.0.1:{service.port}/ws"
        async with peer(service) as learner:
            await learner.hello(roles=["learner"], session="s-left")
            async with (
                AffectClient(url, roles=("tutor",), session="s-left") as client,
                TutorHost(Dialogue(load_lesson()), AffectPolicy(), client) as host,
            ):
                host.start()
                await feels(learner, "frustration", host)
                await learner.send("bye")
                assert await learner.closed() == 1000
                for _ in range(3):
                    assert await host.say("The pumpkin lands behind because the runner moves on ahead")
                assert host.policy.open_states == {}
                assert host.dialogue.wrong == 3


def tutor(*arguments: str, said: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "affect_autotutor.cli", *arguments]
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def test_the_terminal(tmp_path: Path) -> None:
    result = tutor("--show-affect", said="it lands behind me because I run on ahead\n?\n\n")
    assert result.returncode == 0, result.stderr
    assert "tutor: You run straight ahead" in result.stdout
    assert "tutor: Not quite." in result.stdout
    assert "[told: nothing; does: as always]" in result.stdout
    wrong = tutor("--lesson", str(tmp_path / "gone.toml"), said="\n")
    assert wrong.returncode == 1
    assert "gone.toml" in wrong.stderr


def test_without_the_service_it_says_so(unused_tcp_port: int) -> None:
    url = f"ws://127.0.0.1:{unused_tcp_port}/ws"
    result = tutor("--session", "x", "--url", url, said="\n")
    assert result.returncode == 1
    assert f"no connection to {url}" in result.stderr


def test_an_interrupt_ends_it_at_once() -> None:
    command = [sys.executable, "-u", "-m", "affect_autotutor.cli"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if "tutor: You run" in line:
                break
        else:
            pytest.fail(f"it ended by itself, with {process.wait(LIMIT_S)}")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130  # with nothing typed
    finally:
        process.kill()
        process.communicate()


_INTERRUPTED_ASLEEP = """
import signal, sys, threading, time
from affect_autotutor import cli

def interrupt():
    sys.stdin.readline()  # the test has seen the question
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
cli._lines = lambda: cli.asyncio.Queue()
cli.main([])
"""


def test_an_interrupt_wakes_a_loop_that_sleeps() -> None:
    """Taken by another thread, as one is that comes just before the loop sleeps, it does not end the loop's wait."""
    command = [sys.executable, "-u", "-c", _INTERRUPTED_ASLEEP]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        assert any("tutor: You run" in line for line in process.stdout)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.wait(LIMIT_S) == 130
    finally:
        process.kill()
        process.communicate()
