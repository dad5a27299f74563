"""Sinks: events go there beside the socket, each sink in a thread of its own behind a bounded queue.

A sink that fails or falls behind loses its own events, which are counted, and disturbs nobody.
"""

import contextlib
import errno
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

from affect.plugins import PluginHost
from affect.registry import Sink
from affect.settings.sinks import JsonlSettings

log = logging.getLogger(__name__)


class JsonlSink:
    """Appends each event as one JSON line to `FOLDER/SESSION.events.jsonl`."""

    def __init__(self, settings: JsonlSettings) -> None:
        self._folder = settings.folder
        self._make_folder()

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # what it holds is about persons

    def write(self, session: str, event: Mapping[str, Any]) -> None:
        """Append one event; flushed to the system before it returns."""
        self._make_folder()  # somebody may have deleted it, to erase what it held
        line = json.dumps(event).encode() + b"\n"
        path = self._folder / f"{session}.events.jsonl"
        number = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(number, "ab", buffering=0) as file:
            os.fchmod(number, 0o600)  # it may be older than this rule
            size = file.tell()
            if file.write(line) != len(line):
                file.truncate(size)  # half a line would swallow the next one
                raise OSError(errno.ENOSPC, "not all of an event could be written")

    def close(self) -> None:
        """Nothing is held open."""


class _Worker:
    def __init__(self, name: str, sink: Sink, capacity: int) -> None:
        self.name, self._sink = name, sink
        self.written = self.failed = self.dropped = 0
        self._ending = threading.Event()
        self._queue: queue.Queue[tuple[str, Mapping[str, Any]] | None] = queue.Queue(capacity)
        self._thread = threading.Thread(target=self._run, name=f"sink-{name}", daemon=True)
        self._thread.start()

    def put(self, session: str, event: Mapping[str, Any]) -> None:
        try:
            self._queue.put_nowait((session, event))
        except queue.Full:
            self.dropped += 1

    def finish(self) -> None:
        """Write what waits, then end; does not wait for it."""
        self._ending.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # a full queue ends by itself

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("sink %s is stuck; %d events are lost", self.name, self._queue.qsize())

    def _run(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._sink.write(*item)
                self.written += 1
            except Exception as exc:  # a sink may raise anything
                self.failed += 1
                if self.failed in (1, 10, 100, 1000):
                    log.warning("sink %s failed (%d times): %s", self.name, self.failed, exc)
        try:
            self._sink.close()
        except Exception as exc:
            log.warning("sink %s failed to close: %s", self.name, exc)

    def _next(self) -> tuple[str, Mapping[str, Any]] | None:
        if self._ending.is_set():
            try:
                return self._queue.get_nowait()
            except queue.Empty:
                return None
        return self._queue.get()


class SinkFanout:
    """All sinks that settings name.

    Args:
        host: Where the sinks are registered; `host.settings.sinks` names those that run.
        capacity: Events waiting a sink before new ones are dropped.

    Raises:
        PluginError: A named sink is not registered.
    """

    def __init__(self, host: PluginHost, capacity: int = 1000) -> None:
        sinks = {name: host.create_sink(name) for name in host.settings.sinks}
        self._workers = [_Worker(name, sink, capacity) for name, sink in sinks.items()]

    def write(self, session: str, event: Mapping[str, Any]) -> None:
        """Hand one CloudEvents object to every sink; never waits."""
        for worker in self._workers:
            worker.put(session, event)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return written, failed and dropped events of each sink."""
        return {w.name: {"written": w.written, "failed": w.failed, "dropped": w.dropped} for w in self._workers}

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and end all sinks, side by side.

        Args:
            timeout_s: For all of them together; what a slower one still has is lost.
        """
        for worker in self._workers:
            worker.finish()
        deadline = time.monotonic() + timeout_s
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
