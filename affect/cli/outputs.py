"""The files that `affect analyze` writes for one input, `BASE.*`.

They are written beside their final name and moved there when complete, so that an interrupted run leaves no half file
that looks whole.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from affect.cloudevents import CloudEvent
from affect.rows import COLUMNS, flat_row

EVENT_COLUMNS = ("file", "seq", "state", "phase", "confidence", "t", "t_start", "t_end", "reason", "evidence")
_TEXTS = (".observations.jsonl", ".observations.csv", ".events.jsonl", ".events.csv", ".run.json")


def beside(base: Path, suffix: str) -> Path:
    """Return `BASE` with a suffix, whatever dots it has."""
    return base.with_name(base.name + suffix)


class Writer:
    """A text file that takes its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, beside(path, ".partial")
        self._file: IO[str] = self._partial.open("w", encoding="utf-8", newline="")

    def write(self, text: str) -> None:
        """Write."""
        self._file.write(text)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        complete = False
        try:
            self._file.close()
            complete = kind is None
        finally:
            if complete:
                self._partial.replace(self._path)
            else:
                self._partial.unlink(missing_ok=True)


class FrameFiles:
    """`BASE.observations.jsonl` and `.csv`, a line a frame."""

    def __init__(self, base: Path, file: str) -> None:
        self._file = file
        self._lines = Writer(beside(base, ".observations.jsonl"))
        self._rows = Writer(beside(base, ".observations.csv"))
        self._table = csv.writer(self._rows)

    def add(self, line: dict[str, Any]) -> None:
        """Write one frame's line."""
        self._lines.write(json.dumps(line) + "\n")
        self._table.writerow(_cells(flat_row(line, self._file), COLUMNS))

    def __enter__(self) -> "FrameFiles":
        self._table.writerow(COLUMNS)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._lines.__exit__(kind, *rest)
        finally:
            self._rows.__exit__(kind, *rest)


def write_events(base: Path, file: str, events: Sequence[CloudEvent]) -> None:
    """Write `BASE.events.jsonl` and `.csv`."""
    with Writer(beside(base, ".events.jsonl")) as lines:
        for event in events:
            lines.write(event.model_dump_json() + "\n")
    rows = [{"file": file, **event.data.model_dump()} for event in events]
    write_table(beside(base, ".events.csv"), EVENT_COLUMNS, rows)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write a CSV; None is an empty cell."""
    with Writer(path) as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(_cells(row, columns) for row in rows)


def remove_partial(base: Path) -> None:
    """Remove what a killed run left of this input."""
    for suffix in _TEXTS:
        beside(base, suffix + ".partial").unlink(missing_ok=True)


def _cells(row: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    return ["" if row[name] is None else row[name] for name in columns]
