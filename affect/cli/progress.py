"""Progress of `affect analyze` on stderr: bars in a terminal; elsewhere a line a file, and one about every minute."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_S = 60.0


class Reporter:
    """Tells how far a batch is.

    Args:
        files: How many there are.
        console: Where to.
        now: The clock, seconds.
    """

    def __init__(self, files: int, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._console, self._now = console or Console(stderr=True, soft_wrap=True), now
        self._lines = not self._console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=self._console, disable=self._lines)
        self._whole = self._bars.add_task("all inputs", total=files)
        self._files, self._begun, self._frames = files, 0, 0
        self._file: TaskID | None = None
        self._told = now()

    def begin(self, name: str) -> None:
        """A file is begun."""
        self._begun, self._frames, self._told = self._begun + 1, 0, self._now()
        self._file = self._bars.add_task(name, total=None)
        self._say(f"{self._begun} of {self._files}: {name}")

    def frame(self, total: int | None) -> None:
        """One more frame of it is done, of about so many."""
        self._frames += 1
        if self._file is not None:
            self._bars.update(self._file, advance=1, total=total)
        if self._now() - self._told >= _LINE_S:
            self._told = self._now()
            self._say(f"{self._begun} of {self._files}: {self._frames} of about {total or '?'} frames")

    def end(self) -> None:
        """The file is done."""
        if self._file is not None:
            self._bars.remove_task(self._file)
            self._file = None
        self._bars.advance(self._whole)

    def _say(self, text: str) -> None:
        if self._lines:
            self._console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._bars.stop()
