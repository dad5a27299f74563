"""`affect-tutor`: the lesson in the terminal, beside `affect serve` whose page has the camera."""

import asyncio
import contextlib
import signal
import sys
import threading
from pathlib import Path

import click
from click.core import ParameterSource

from affect.errors import AffectError
from affect.settings.load import parse_value
from affect_autotutor.dialogue import Dialogue, Move, MoveKind
from affect_autotutor.host import TutorHost
from affect_autotutor.lesson import load_lesson
from affect_autotutor.policy import AffectPolicy

_HELP = "Answer in a sentence; `?` asks for a hint, an empty line ends the lesson."


def _as_the_service_reads_it(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Take the quotes off a token from the environment, where the service wants `'"12345"'`."""
    given = context.get_parameter_source(option.name or "")
    return str(parse_value(value)) if value and given is ParameterSource.ENVIRONMENT else value


@click.command()
@click.option("--url", default="ws://127.0.0.1:8765/ws", show_default=True, help="The affect service.")
@click.option("--session", help="The session that the learner's camera page joined; without it no faces are heard.")
@click.option(
    "--token", envvar="AFFECT_SERVICE__TOKEN", callback=_as_the_service_reads_it, help="If the service wants one."
)
@click.option("--lesson", type=click.Path(path_type=Path, dir_okay=False), help="FILE.toml instead of the bundled one.")
@click.option("--show-affect", is_flag=True, help="Also print what the tutor was told and did about it.")
def main(url: str, session: str | None, token: str | None, lesson: Path | None, show_affect: bool) -> None:
    """Teach a lesson and change course when the learner is confused, frustrated or bored."""
    try:
        asyncio.run(_run(url, session, token, lesson, show_affect))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
    except AffectError as exc:
        click.echo(f"affect-tutor: {exc.message} [{exc.code}]", err=True)
        sys.exit(1)


async def _run(url: str, session: str | None, token: str | None, lesson: Path | None, show_affect: bool) -> None:
    _end_on_interrupt()
    dialogue, policy = Dialogue(load_lesson(lesson)), AffectPolicy()
    if session is None:
        await _converse(TutorHost(dialogue, policy), show_affect)
        return
    from affect_client import AffectClient

    async with AffectClient(url, roles=("tutor",), session=session, token=token) as client:
        click.echo(f"hearing session {session!r}; the learner's camera: {_page(url)}?session={session}")
        await _converse(TutorHost(dialogue, policy, client), show_affect)


async def _converse(host: TutorHost, show_affect: bool) -> None:
    lines = _lines()
    async with host:
        click.echo(f"{host.dialogue.lesson.title}. {_HELP}")
        _print(host.start())
        while host.dialogue.question is not None:
            turn = (await lines.get()).strip()
            if not turn:
                return
            decided = len(host.tactics)
            moves = await host.say(turn)
            if show_affect and len(host.tactics) > decided:
                states = ", ".join(sorted(host.policy.open_states)) or "nothing"
                click.echo(f"  [told: {states}; does: {host.tactics[-1] or 'as always'}]")
            _print(moves)


def _end_on_interrupt() -> None:
    """Let Ctrl-C wake the loop too: `asyncio.run` alone may see one only when the loop wakes for another reason."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)


def _lines() -> "asyncio.Queue[str]":
    """Read standard input in a thread that nobody waits for: Ctrl-C ends the lesson at once."""
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            for line in sys.stdin:
                loop.call_soon_threadsafe(lines.put_nowait, line)
            loop.call_soon_threadsafe(lines.put_nowait, "")

    threading.Thread(target=read, daemon=True).start()
    return lines


def _print(moves: list[Move]) -> None:
    for move in moves:
        if move.kind is MoveKind.QUESTION:
            click.echo("")
        click.echo(f"tutor: {move.text}")


def _page(url: str) -> str:
    return url.replace("ws", "http", 1).removesuffix("ws")


if __name__ == "__main__":
    main()
