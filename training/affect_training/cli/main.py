"""affect-train: reproduce the published systems, train new backends, evaluate, explain, export."""

import logging
import sys
from importlib import import_module
from typing import Any

import click

from affect.errors import AffectError
from affect.version import __version__
from affect_training.launch import is_numbered_first
from affect_training.memory import keep_freed_memory

COMMANDS = {
    "list": "recipes:list_recipes",
    "show": "recipes:show",
    "settings": "settings:settings",
    "run": "run:run",
    "evaluate": "evaluate:evaluate",
    "seeds": "seeds:seeds",
    "ensemble": "ensemble:ensemble",
    "tune": "tune:tune",
    "report": "report:report",
    "card": "card:card",
    "models": "models:models",
    "explain": "explain:explain",
    "export": "export:export",
    "data": "data:data",
    "fullframe": "fullframe:fullframe",
    "learner": "learner:learner",
    "bench": "bench:bench",
}
"""Command -> `module:attribute` in this package; a module is imported when its command is called or helped."""


class _LazyGroup(click.Group):
    """Commands by name; `affect-train RECIPE …` is short for `affect-train run RECIPE …`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command = getattr(import_module(f"affect_training.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS:
            from affect.plugins import PluginHost

            if args[0] in PluginHost().recipes:
                args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup)
@click.version_option(__version__, prog_name="affect-train")
def cli() -> None:
    """Train, evaluate, explain and export backends."""


def main() -> None:
    """Entry point; an error of ours, or a package that is not installed, is one line on stderr and exit code 1."""
    keep_freed_memory()
    _log_to_stderr()
    try:
        cli(standalone_mode=True)
    except AffectError as exc:
        click.echo(f"affect-train: {exc.message} [{exc.code}]", err=True)
        sys.exit(1)
    except ModuleNotFoundError as exc:
        if (exc.name or "affect").startswith("affect"):  # a defect of ours
            raise
        click.echo(f"affect-train: the package {exc.name} is missing: pip install '.[train]' in a checkout", err=True)
        sys.exit(1)


class _ToStderr(logging.Handler):
    """Shows messages as the commands show theirs."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            click.echo(self.format(record), err=True)
        except Exception:  # a terminal that is gone must not end a run
            self.handleError(record)


def _log_to_stderr() -> None:
    """Show what takes its time before or beside a progress bar; of processes that a launcher numbered, the first's."""
    ours = logging.getLogger("affect_training")
    ours.handlers = [_ToStderr()]
    ours.setLevel(logging.INFO if is_numbered_first() else logging.WARNING)
