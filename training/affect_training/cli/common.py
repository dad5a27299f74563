"""What several commands share: where the data and the cache are, which device."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from affect.errors import SettingsError

CACHE = Path("runs/cache")
"""Parsed data and predictions; may be deleted at any time."""

PIPE_WIDTH = 140
"""Columns of a table that is written to a file or a pipe."""

data_option: Callable[[Any], Any] = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=lambda: os.environ.get("AFFECT_FER2013"),
    help="fer2013.csv[.gz], icml_face_data.csv, a folder of class folders, or a list; $AFFECT_FER2013 by default.",
)

holdout_option: Callable[[Any], Any] = click.option(
    "--holdout",
    default=0.0,
    type=click.FloatRange(0, 1, max_open=True),
    help="Share of Training that stands for PublicTest where the data has none: as in data.holdout of the run.",
)

device_option: Callable[[Any], Any] = click.option(
    "--device", default="auto", show_default=True, help="auto | cpu | cuda:N"
)


def existing(data: Path | None) -> Path:
    """Return the data's path.

    Raises:
        SettingsError: None was named, or it is not there.
    """
    if data is None:
        raise SettingsError("name the data: --data fer2013.csv, or set AFFECT_FER2013")
    if not data.exists():
        raise SettingsError(f"--data {data}: no such file or folder")
    return data


def prepare_output(path: Path | None) -> None:
    """Make the folder of an output file and see that the file can be written: before the work whose result it holds.

    Args:
        path: The file; one that is there stays as it is. None asks for nothing.

    Raises:
        SettingsError: It cannot be written; names it.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        if there and not path.is_file() and not path.is_dir():  # a pipe or a terminal: opening it may wait
            return
        path.open("ab").close()
        if not there:
            path.unlink()
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be written: {exc.strerror or exc}") from exc


def console() -> Console:
    """Return where tables and progress go; a file or a pipe gets lines long enough for all columns."""
    screen = Console(markup=False)
    if not screen.is_terminal:
        screen.width = max(screen.width, PIPE_WIDTH)
    return screen
