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

data_option: Callable[[Any], Any] = click.option(
    "--data",
    type=click.Path(path_type=Path),
    default=lambda: os.environ.get("AFFECT_FER2013"),
    help="fer2013.csv[.gz], icml_face_data.csv, a folder of class folders, or a list; $AFFECT_FER2013 by default.",
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


def console() -> Console:
    """Return where tables and progress go."""
    return Console()
